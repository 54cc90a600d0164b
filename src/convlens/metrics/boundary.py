"""How well the outlines of regions agree, which counts of pixels hardly see: boundary F1 within a tolerance.

This file knows regions as arrays of booleans, not classes, images or files.
"""

from __future__ import annotations

import numpy as np


def boundary_f1(
    true: np.ndarray, predicted: np.ndarray, tolerance_px: float = 2.0, valid: np.ndarray | None = None
) -> float:
    """How well the outline of a region was found: F1 of boundary pixels that have a partner within the tolerance.

    Boundary pixels belong to the region and touch, at a side, a pixel that does not; the border of the image and the
    border of ignored pixels are no boundary. Precision is the share of predicted boundary pixels with a true one at a
    Euclidean distance of at most `tolerance_px`, recall the share of true ones with a predicted one. It is 0 where
    only one of the two has a boundary, and nan where neither has.

    Shapes:
        true, predicted and valid (H, W), of booleans

    Example:
        >>> line = np.zeros((4, 9), dtype=bool)
        >>> true, predicted = line.copy(), line.copy()
        >>> true[:, :3], predicted[:, :6] = True, True
        >>> boundary_f1(true, predicted, 2.0), boundary_f1(true, predicted, 3.0)
        (0.0, 1.0)

    Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
    Differs: the tolerance is in pixels, not a share of the image's diagonal.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    valid = np.ones(np.shape(true), dtype=bool) if valid is None else valid
    ours, theirs = (r & valid & np.logical_not(binary_erosion(r | ~valid, border_value=1)) for r in (predicted, true))
    if not ours.any() or not theirs.any():
        return 0.0 if ours.any() or theirs.any() else float("nan")
    far_from_theirs, far_from_ours = (np.asarray(distance_transform_edt(~outline)) for outline in (theirs, ours))
    precision = float((far_from_theirs[ours] <= tolerance_px).mean())
    recall = float((far_from_ours[theirs] <= tolerance_px).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
