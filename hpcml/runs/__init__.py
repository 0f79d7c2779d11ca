"""Cases: check, generate, train, roll out, evaluate, and the folder that holds what comes of them."""
