# %% [markdown]
# # Your own model, from the data to the hand-in
#
# Two short roads for task 3 (activation maps from the ECG), with nothing of the kit but its loader, its leads, its score
# and its hand-in: (a) your own PyTorch network and training loop, (b) scikit-learn only. Copy the one you like, change everything.
#
# Task 3's notebook explains the data. This one takes a few minutes. Teaching software, not a medical device.

# %%
import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from cardiac_ml import challenge, intracardiac, leads, metrics

# %% tags=["parameters"]
HEARTS = 120  # quick: 8
CASES = 15  # of most hearts; of a few, focal beats from all 75 points; quick: 8
EPOCHS = 30  # quick: 1
SEED = 0

# %% [markdown]
# ## The data
#
# With `CARDIAC_ML_DATA=my_challenge/public` these are the data of a challenge; else the real files where they are, or
# virtual hearts. `ecg_mv` is (cases, 12, 500) in mV, `activation_ms` (cases, 75) in ms: plain numpy arrays, so that any
# framework will do (`jnp.asarray(train.ecg_mv)` for JAX, `tf.constant(train.ecg_mv)` for TensorFlow).

# %% tags=["source"]
data = intracardiac.load(hearts=HEARTS, cases=CASES)
print(data.source)

# %%
split = intracardiac.split_by_heart(data)
train, valid, test = (data[rows] for rows in split)
print(train.ecg_mv.shape, "->", train.activation_ms.shape, "in training")
print(len(valid), "cases to choose with")

# %% [markdown]
# Labels of points that never activate are NaN. There are not many, but one makes the mean of a loss NaN, and with most
# losses every weight: leave them out of the loss (a), or fill them in (b).

# %%
unknown = np.isnan(train.activation_ms)
print(f"{unknown.sum()} of {unknown.size} training labels are unknown")

# %% [markdown]
# ## (a) PyTorch
#
# A network is any `nn.Module` from (cases, 12, 500) to (cases, 75). This one keeps the order in time (`Flatten`), and starts
# from the mean map, so that it only has to learn what differs.

# %%
class Net(nn.Module):
    def __init__(self, mean_map_ms, width=48):
        super().__init__()
        def layer(inputs, outputs):
            return nn.Sequential(nn.Conv1d(inputs, outputs, 7, stride=2, padding=3),
                                 nn.BatchNorm1d(outputs), nn.SiLU())
        self.body = nn.Sequential(layer(12, width), layer(width, width), layer(width, 2 * width),
                                  layer(2 * width, 2 * width), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(2 * width * 32, 256), nn.SiLU(), nn.Linear(256, 75))
        self.register_buffer("mean_map_ms", torch.as_tensor(mean_map_ms))

    def forward(self, ecg_mv):
        return self.mean_map_ms + 25 * self.head(self.body(ecg_mv))

# %% [markdown]
# While it trains, each ECG comes a little earlier or later, with its labels, and a little larger or smaller:

# %%
def shaken(x, y):
    step = int(torch.randint(-8, 9, ()))
    gain = 1 + 0.2 * torch.randn(len(x), 1, 1)
    return x.roll(step, dims=2) * gain + 0.01 * torch.randn_like(x), y + step


def masked_l1(output, target):
    known = torch.isfinite(target)
    return (output - torch.where(known, target, 0)).abs()[known].mean()

# %% [markdown]
# The loop, with a step size that falls to zero, and the best epoch on the validation hearts kept:

# %%
torch.manual_seed(SEED)
net = Net(np.nanmean(train.activation_ms, axis=0))
x, y = torch.tensor(train.ecg_mv), torch.tensor(train.activation_ms)
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)


def times_of(net, ecg_mv):
    net.eval()
    with torch.no_grad():
        return net(torch.tensor(ecg_mv)).numpy()

# %%
best, kept = np.inf, None
for epoch in range(EPOCHS):
    net.train()
    for rows in torch.randperm(len(x)).split(32):
        inputs, targets = shaken(x[rows], y[rows])
        loss = masked_l1(net(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    schedule.step()
    error = metrics.mae_ms(valid.activation_ms, times_of(net, valid.ecg_mv))
    if error < best:
        best, kept = error, {name: value.clone() for name, value in net.state_dict().items()}
net.load_state_dict(kept)
print(f"best on the validation hearts: {best:.2f} ms")

# %% [markdown]
# ## (b) scikit-learn
#
# Every fourth sample of the eight independent leads in a row, principal components, and a regression. Unknown labels get
# the mean of their point.

# %%
def flat(ecg_mv):
    return leads.independent(ecg_mv)[:, :, ::4].reshape(len(ecg_mv), -1)


filled = np.where(unknown, np.nanmean(train.activation_ms, axis=0), train.activation_ms)
candidates = {
    "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 5, 9))),
    "neighbours": make_pipeline(PCA(min(40, len(train) - 1)),
                                KNeighborsRegressor(5, weights="distance")),
}
for name, model in candidates.items():
    model.fit(flat(train.ecg_mv), filled)
    error = metrics.mae_ms(valid.activation_ms, model.predict(flat(valid.ecg_mv)))
    print(f"{name:>10}: {error:.2f} ms on the validation hearts")

# %% [markdown]
# ## Hand it in
#
# Choose on the validation hearts, then predict the test cases once. `submit` checks shapes, units and names, and says what
# is wrong.

# %%
cases = challenge.test_cases(3, data, split.test)
print(challenge.submit(cases, times_of(net, cases.ecg_mv), team="me"))

# %% [markdown]
# At home you can look behind the curtain, with an interval over hearts (in a challenge only the scorer can):

# %%
predicted = times_of(net, test.ecg_mv)
metrics.bootstrap_table(metrics.ACTIVATION, test.activation_ms, predicted, test.hearts)

# %% tags=["score"]
own = metrics.mae_ms(test.activation_ms, predicted)
print(f"MAE {own:.2f} ms on {len(set(test.hearts))} unseen hearts, network and loop of my own")
