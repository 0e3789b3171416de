"""How far codes agree with classes that nobody showed them.

Shape letters: N points.
"""

from __future__ import annotations

import math

import numpy as np

from pellucid.errors import PellucidError


def purity(codes_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the share of points in their code's most frequent class.

    It grows with the number of codes; 1 when each code holds one class. Chance is the share of the
    most frequent class.
    """
    table = _contingency(codes_N, labels_N)
    return float(table.max(1).sum() / table.sum())


def normalised_mutual_information(codes_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Return I(code; class)/√(H(code)·H(class)): 0 when independent, 1 when each tells the other.

    Source: Strehl & Ghosh 2002, "Cluster ensembles", eq. 2.
    """
    joint = _contingency(codes_N, labels_N) / len(codes_N)
    code, label = joint.sum(1), joint.sum(0)
    information = _entropy(code) + _entropy(label) - _entropy(joint.ravel())
    scale = math.sqrt(_entropy(code) * _entropy(label))
    return max(0.0, information / scale) if scale > 0 else 0.0


def _contingency(codes_N: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    if codes_N.shape != labels_N.shape or codes_N.ndim != 1 or not len(codes_N):
        raise PellucidError(
            "one class per code is needed", expected=codes_N.shape, found=labels_N.shape
        )
    code = np.unique(codes_N, return_inverse=True)[1]
    label = np.unique(labels_N, return_inverse=True)[1]
    columns = int(label.max()) + 1
    cells = np.bincount(code * columns + label, minlength=(int(code.max()) + 1) * columns)
    return cells.reshape(-1, columns).astype(np.float64)


def _entropy(share: np.ndarray) -> float:
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())
