"""Measure a classifier on recordings with known labels.

manifest      the recordings, and the right label of each
predictions   the predicted probabilities, in a file from which an interrupted run resumes
measures      accuracy, average precision, AUC, calibration
"""
