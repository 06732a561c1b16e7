"""The scripts of the applications, installed as modules beside the package: all that there are."""

from pathlib import Path

from setuptools import setup

setup(py_modules=sorted(path.stem for path in Path().glob("train_flowmodels*.py")))
