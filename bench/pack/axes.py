"""The axes of every tensor in the suite, one letter each, defined once.

R replicas, B batch (sequences), T time steps, I inputs, H hidden units, O outputs. Leading axes are batch axes.
A parameter's shape is written with `H`, `I`, `O` for the sizes that a network fills in, and with plain numbers
for the rest (an LSTM's recurrent weight is `(4, H, H)`).
"""

I = "I"
H = "H"
O = "O"
