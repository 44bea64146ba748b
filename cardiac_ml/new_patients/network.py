"""A small 1-D network for new patients: it sees the beat before, the beat and the beat after, and their times."""
import numpy as np
import torch
from torch import nn

from cardiac_ml import training
from cardiac_ml.new_patients.classifier import CLASSES, BeatTable, fewer_fusions, joined_tables, row_weights, thinned
from cardiac_ml.new_patients.features import SAMPLES

MOST = 25  # beats of one class of one record to learn from


class ThreeBeatNet(nn.Module):
    """(rows, 6 * SAMPLES + times) -> scores (rows, 4): two channels of three beats, then the times."""

    def __init__(self, times, width=24, dropout=0.3):
        super().__init__()
        self.config = dict(times=times, width=width, dropout=dropout)
        self.body = nn.Sequential(
            nn.Conv1d(6, width, 9, stride=2, padding=4), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, 2 * width, 7, stride=2, padding=3), nn.BatchNorm1d(2 * width), nn.ReLU(),
            nn.Conv1d(2 * width, 2 * width, 5, stride=2, padding=2), nn.BatchNorm1d(2 * width), nn.ReLU(), nn.Flatten(),
            nn.Dropout(dropout), nn.Linear(2 * width * SAMPLES // 8, width), nn.ReLU())
        self.clock = nn.Sequential(nn.BatchNorm1d(times, affine=False), nn.Hardtanh(-4, 4), nn.Linear(times, width),
                                   nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(2 * width, len(CLASSES))

    def forward(self, x):
        beats, times = x[:, :6 * SAMPLES].unflatten(1, (6, SAMPLES)), x[:, 6 * SAMPLES:]
        return self.head(torch.cat([self.body(beats), self.clock(times)], dim=1))


def fit_network(train: BeatTable, synthetic: BeatTable, seed: int = 0, epochs: int = 4) -> ThreeBeatNet:
    """Learns from the real and the synthetic beats of the patients of ``train``, weighted as for the trees."""
    table = joined_tables(train, synthetic.rows(np.isin(synthetic.patient, train.patient)))
    table = table.rows(thinned(table.label, table.record, MOST, seed))
    torch.manual_seed(seed)
    model = ThreeBeatNet(times=table.timing.shape[1])
    return training.fit(model, (table.inputs, table.label), epochs=epochs, batch_size=256, lr=3e-3, ema_decay=0.99,
                        sample_weight=row_weights(table.label, table.record), seed=seed, device="cpu").model


def predict_network(model: ThreeBeatNet, table: BeatTable) -> np.ndarray:
    """Probabilities of the classes, (rows, 4)."""
    answer = training.probabilities(training.predict(model, table.inputs, batch_size=2048))
    return fewer_fusions(answer, table.record)
