"""Virtual hearts: anatomy, activation, action potentials and the torso. Physics only, no file layouts."""
