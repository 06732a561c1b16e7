"""Generative classification, applications 3 and 4: densities with classes, and what their scripts
share.

class_sources, class_pictures -> class_model -> class_study -> class_image_figures
"""
