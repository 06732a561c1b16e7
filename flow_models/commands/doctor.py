"""doctor placeholder"""
NEEDS_MODEL = False
def add_arguments(p): pass
def run(g): pass
