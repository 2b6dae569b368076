"""How good a classifier is, on recordings whose labels are known.

manifest      which recordings, and what is right for each
predictions   the probabilities given, in a file from which an interrupted run goes on
measures      accuracy, average precision, AUC, calibration
"""
