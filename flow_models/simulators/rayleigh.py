"""Phase velocities of the fundamental Rayleigh mode in many layered media at once: disba's root
search on all cores.

    F(c, v; T) = 0 (Dunkin 1965),   dc/dln v_i = -(dF/dln v_i) / (dF/dc)

disba (Luu 2021) is surf96 of Computer Programs in Seismology (Herrmann 2013) in Numba. We use its
equation "dunkin": in version 0.7.0 "fast-delta" is off by some percent at long periods in media
like these, while finite elements agree with "dunkin". S velocities v and phase velocities c in
km/s, periods T in s, thickness in km.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from disba._cps._surf96 import dltar4, getc

VP_OVER_VS = 1.75  # a Poisson's ratio of 0.258
GARDNER = (1.741, 0.25)  # density 1.741 vp^0.25 g/cm^3
# km/s between trial velocities; a tenth of it finds the same roots (tests/test_dispersion.py)
_SEARCH = 0.02
_FASTEST = 20.0  # km/s, 15 prior standard deviations off: beyond it the search would never end
_NUDGE = 1e-5  # relative step of the differences that give the slopes of F
_PIECE = 8  # rows for which a thread pays


# error_model: a division by zero gives inf or NaN instead of an error
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


def phase_velocities(
    velocity: np.ndarray, thickness: np.ndarray, periods: np.ndarray, search: float = _SEARCH
) -> np.ndarray:
    """c [N, T] of media [N, P] whose last layer is a half-space.

    A row is NaN if the search fails, or if the wave is not bound to the surface (c above the
    half-space's S velocity at some period).
    """
    found = np.empty((len(velocity), len(periods)))
    _on_all_cores(_search, (velocity,), (thickness, periods, np.array([search])), found)
    return found


def slopes(
    velocity: np.ndarray, phase: np.ndarray, thickness: np.ndarray, periods: np.ndarray
) -> np.ndarray:
    """dc/dln v [N, T, P] at the roots c [N, T], with vp and density changing with v; 0 in rows
    without roots."""
    found = np.empty((*phase.shape, velocity.shape[1]))
    _on_all_cores(_differentiate, (velocity, phase), (thickness, periods), found)
    return found


def _on_all_cores(kernel, rows, fixed, found):
    """kernel(*rows, *fixed, found), rows split among threads: the kernels release the interpreter
    lock."""
    rows, fixed = (
        [np.ascontiguousarray(each, np.float64) for each in arrays] for arrays in (rows, fixed)
    )
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    count = max(min(cores, len(found) // _PIECE), 1)
    pieces = [[part[i::count] for part in (*rows, found)] for i in range(count)]
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(lambda piece: kernel(*piece[:-1], *fixed, piece[-1]), pieces):
            pass  # raises what the thread raised


@_compiled
def _rest(velocity):
    """vp and density that belong to S velocities."""
    vp = VP_OVER_VS * velocity
    return vp, GARDNER[0] * vp ** GARDNER[1]


@_compiled
def _equation(c, period, thickness, vp, v, density, work):
    """F, and its derivative with respect to c."""
    w = 2 * np.pi / period
    here = dltar4(w / c, w, thickness, vp, v, density, -1, work)
    return here, (dltar4(w / (c + _NUDGE), w, thickness, vp, v, density, -1, work) - here) / _NUDGE


@_compiled
def _search(velocity, thickness, periods, search, found):
    work = np.empty((5, 5))
    for row in range(len(velocity)):
        v = velocity[row].copy()
        found[row] = np.nan
        if not (np.min(v) > 0.0 and np.max(v) < _FASTEST):  # false for NaN too
            continue
        vp, density = _rest(v)
        try:
            c = getc(periods, thickness, vp, v, density, 0, 2, search[0])
        except Exception:  # a DispersionError: compiled code cannot catch it by its type
            continue
        # the search ends at 1e-6 of c; one Newton step more makes the curves smooth
        for k in range(len(periods)):
            here, by_c = _equation(c[k], periods[k], thickness, vp, v, density, work)
            c[k] -= here / by_c
        if np.min(c) > 0.0 and np.max(c) < v[-1]:
            found[row] = c


@_compiled
def _differentiate(velocity, phase, thickness, periods, found):
    work = np.empty((5, 5))
    for row in range(len(velocity)):
        v = velocity[row].copy()
        vp, density = _rest(v)
        for k in range(len(periods)):
            found[row, k] = 0.0
            c, w = phase[row, k], 2 * np.pi / periods[k]
            if not np.isfinite(c):
                continue
            here, by_c = _equation(c, periods[k], thickness, vp, v, density, work)
            if by_c == 0.0:
                continue
            for i in range(len(v)):
                kept = v[i], vp[i], density[i]
                v[i] *= 1 + _NUDGE
                vp[i] *= 1 + _NUDGE
                density[i] *= (1 + _NUDGE) ** GARDNER[1]
                there = dltar4(w / c, w, thickness, vp, v, density, -1, work)
                v[i], vp[i], density[i] = kept
                found[row, k, i] = -(there - here) / _NUDGE / by_c
