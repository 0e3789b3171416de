"""Landmarks from frozen features: does the encoder know where things are?"""
