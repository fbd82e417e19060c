"""What training minimises: differences of images, roughness of displacements, mismatch of labels, surplus of spikes."""
