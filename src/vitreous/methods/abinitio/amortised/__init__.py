"""Poses from an encoder that is trained once for all images: by wake and sleep, or by gradients."""
