"""Virtual hearts: physics only, no file layouts. Read in this order:

anatomy (two ventricles, fibres), mesh (tetrahedra), points (the 75 recording points), conduction (when a front
arrives), patterns (where it starts), membrane (what one cell does), signals (voltages from times), torso (the skin),
patient (all of it for one heart), dataset (many hearts). Then rhythm and beats (heartbeats), geometry (a mesh to look
at), monodomain (the check on the fast way), and phantom (chest X-rays).
"""
