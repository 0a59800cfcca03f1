"""Calibrate: tracksters and tracks to identified, calibrated objects, and jets of them."""

BACKENDS = {
    "raw": "gen2reco.calibrate.raw:Raw",
    "dnn": "gen2reco.calibrate.dnn:Dnn",
}
