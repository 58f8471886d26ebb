"""What people would pick instead, each as its own documentation says, in an environment of its own.

The scripts of this folder run in those environments and import nothing of ours.
"""
