# %% [markdown]
# # Tutorial: predict a number, and say how sure you are
#
# Classification answers "which one?", regression answers "how much?". We start from a table of 442 people with diabetes, go from a straight line
# to forests and a small network, learn to put an error bar on every score, and end with many numbers at once: the activation times of
# a heart from a few features of its ECG, which is where task 3 begins.
#
# You need some Python and numpy. About 50 minutes to read, about a minute to run. The diabetes table comes with
# scikit-learn (Efron, Hastie, Johnstone, Tibshirani: Least Angle Regression, 2004); the hearts are virtual.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import (GroupKFold, KFold, cross_val_predict, cross_val_score,
                                     train_test_split)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from cardiac_ml import intracardiac, plots
from cardiac_ml.exercises import check

plots.style()

# %% tags=["parameters"]
TREES = 300  # quick: 10
STEPS = 400  # quick: 10
HEARTS = 120  # quick: 8
CASES = 15  # of most hearts; of a few, focal beats from all 75 points; quick: 8
SEED = 0

# %% [markdown]
# ## 1. A table
#
# Ten measurements of each person: age, sex, body mass index (`bmi`), blood pressure (`bp`) and six blood values: cholesterol (`s1`), its "bad" part LDL (`s2`)
# and its "good" part HDL (`s3`), the ratio of cholesterol and HDL (`s4`), the logarithm of the triglycerides, a blood fat (`s5`), and blood sugar (`s6`).
# The target is a measure of how far the disease has progressed one year later, from 25 to 346.

# %%
people = load_diabetes(as_frame=True, scaled=False)
table, progression = people.data, people.target.rename("progression")
table.describe().loc[["mean", "std", "min", "max"]].round(1)

# %% [markdown]
# Before any model: look. Two of the ten against the target.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for ax, name, unit in zip(axes, ("bmi", "bp"), ("kg/m²", "mmHg")):
    ax.scatter(table[name], progression, s=8, alpha=0.6)
    ax.set(xlabel=f"{name} ({unit})")
axes[0].set_ylabel("progression");

# %%
correlations = table.corrwith(progression).sort_values()
plt.barh(correlations.index, correlations, color=np.where(correlations < 0, "#c8553d", "#1b3a5c"))
plt.xlabel("correlation with progression");

# %% [markdown]
# **Exercise 1.** Which measurement goes *down* most clearly as progression goes up?

# %%
answer = ...  # its name in the table
check("tutorial2.1", answer, correlations=correlations)

# %% [markdown]
# ## 2. The simplest answer, then a straight line
#
# We keep a quarter of the people for the end. The simplest answer is the average of the others for everyone. Its mean absolute error
# (MAE) is what every model has to beat.

# %%
x, x_test, y, y_test = train_test_split(table, progression, test_size=0.25, random_state=SEED)
everyone = np.full(len(y_test), y.mean())
print(f"the mean for everyone: MAE {mean_absolute_error(y_test, everyone):.1f}")

# %%
line = LinearRegression().fit(x[["bmi"]], y)
grid = np.linspace(18, 42, 50)
plt.scatter(x["bmi"], y, s=8, alpha=0.6)
plt.plot(grid, line.intercept_ + line.coef_[0] * grid, color="#c8553d")
plt.gca().set(xlabel="bmi (kg/m²)", ylabel="progression");

# %% [markdown]
# With all ten measurements the line becomes a plane in ten dimensions, but the idea stays: a weight for each, added up.

# %%
linear = LinearRegression().fit(x, y)
print(f"linear: MAE {mean_absolute_error(y_test, linear.predict(x_test)):.1f}, "
      f"R2 {r2_score(y_test, linear.predict(x_test)):.2f} (share of the variance explained)")

# %% [markdown]
# ## 3. Too many features, and regularisation
#
# Let us also use all squares, cubes and products of the measurements: 285 features for 331 people. A plain linear model now fits its training people
# far better than before, and fails on others: the left ends of the curves below. *Ridge* regression asks the weights to stay small; `alpha` says
# how strongly.

# %%
alphas = np.logspace(-2, 5, 15)
features = [StandardScaler(), PolynomialFeatures(3, include_bias=False), StandardScaler()]
models = [make_pipeline(*features, Ridge(alpha)) for alpha in alphas]
training = [mean_absolute_error(y, model.fit(x, y).predict(x)) for model in models]
scoring = "neg_mean_absolute_error"
validation = [-cross_val_score(model, x, y, cv=5, scoring=scoring).mean() for model in models]

# %%
plt.semilogx(alphas, training, label="people it learned from")
plt.semilogx(alphas, validation, label="others (cross-validation)")
plt.gca().set(xlabel="alpha: how small the weights must be", ylabel="MAE", ylim=(0, 80))
plt.legend();

# %% [markdown]
# *Cross-validation* made the second curve: the 331 people are cut into five parts; each part in turn is predicted by a model that learned from the
# other four. So every person is used for both, but never at once.
#
# **Exercise 2.** Which `alpha` would you choose? Any of the three best counts.

# %%
answer = ...
check("tutorial2.2", answer, alphas=alphas, errors=validation)

# %% [markdown]
# ## 4. Trees, forests, boosting
#
# A *tree* asks questions: is bmi below 26? is bp above 100? One tree is easy to read and easy to mislead. A *forest* averages hundreds of trees,
# each grown on other people. *Boosting* grows them one after the other, each on the errors so far.

# %%
contenders = {
    "linear": LinearRegression(),
    "ridge, products": models[int(np.argmin(validation))],
    "one tree": DecisionTreeRegressor(random_state=SEED),
    "forest": RandomForestRegressor(TREES, min_samples_leaf=3, random_state=SEED, n_jobs=-1),
    "boosting": HistGradientBoostingRegressor(learning_rate=0.03, max_iter=TREES // 2, max_depth=3,
                                              random_state=SEED),
}

# %%
errors = {name: np.abs(cross_val_predict(model, x, y, cv=5) - y)
          for name, model in contenders.items()}
for name, error in errors.items():
    print(f"{name:>16}: MAE {error.mean():.1f}")

# %% [markdown]
# ## 5. A small network
#
# Two layers with a bend between them, in torch. Are 331 people enough for it? The linear model from section 2 stands beside it: both are asked about the people
# that were kept for the end.

# %%
def train_small_network(x, y, steps=STEPS):
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 16), torch.nn.ReLU(),
                                torch.nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x)[:, 0] - y).abs().mean().backward()
        optimizer.step()
    return model


# %%
scaler = StandardScaler().fit(x)
inputs = [torch.tensor(scaler.transform(part), dtype=torch.float32) for part in (x, x_test)]
scaled = torch.tensor((y.to_numpy() - y.mean()) / y.std(), dtype=torch.float32)
small = train_small_network(inputs[0], scaled)
with torch.no_grad():
    guessed = small(inputs[1])[:, 0].numpy() * y.std() + y.mean()
print(f"network: MAE {mean_absolute_error(y_test, guessed):.1f}, "
      f"linear: MAE {mean_absolute_error(y_test, linear.predict(x_test)):.1f}")

# %% [markdown]
# ## 6. Error bars
#
# Is one model really better than another, or was it lucky with these people? Draw 331 people again, with replacement, many times (*bootstrap*), and see how the score moves:

# %%
rng = np.random.default_rng(SEED)
draws = rng.integers(len(y), size=(2000, len(y)))
spread = {name: error.to_numpy()[draws].mean(axis=1) for name, error in errors.items()}
low_high = {name: np.quantile(values, [0.05, 0.95]) for name, values in spread.items()}

# %%
for i, (name, error) in enumerate(errors.items()):
    plt.plot(low_high[name], [i, i], color="#1b3a5c", lw=3)
    plt.plot(error.mean(), i, "o", color="#c8553d")
plt.gca().set(yticks=range(len(errors)), yticklabels=errors, xlabel="MAE, with its 90 % interval");

# %% [markdown]
# Where two intervals overlap, it may seem that nothing can be said. But all models predicted *the same people*: whoever is hard for one is often hard for the
# other. So compare them person by person: the difference has an interval of its own, and it may be much shorter.

# %%
difference = spread["linear"] - spread["forest"]
print("linear minus forest:", np.quantile(difference, [0.05, 0.95]).round(1))

# %% [markdown]
# Above zero, the forest would be better, below zero the linear model; an interval with zero inside leaves it open.
#
# **Exercise 3.** Is boosting clearly better than ridge with products (the whole interval of their difference on its side of zero)? Answer "yes" or "no".

# %%
answer = ...
check("tutorial2.3", answer, difference=spread["ridge, products"] - spread["boosting"])

# %% [markdown]
# ## 7. Residuals, and which measurement matters
#
# A residual is truth minus prediction. If a pattern is left in it, the model has missed something.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
guess = linear.predict(x_test)
axes[0].scatter(guess, y_test - guess, s=8)
axes[0].axhline(0, color="0.6")
axes[0].set(xlabel="prediction", ylabel="residual")
axes[1].hist(y_test - guess, 20, color="#1b3a5c")
axes[1].set(xlabel="residual", ylabel="people");

# %% [markdown]
# To see which measurement matters, shuffle one column of the test people, so that it says nothing any more, and see how much worse the
# model gets.

# %%
forest = contenders["forest"].fit(x, y)
importance = permutation_importance(forest, x_test, y_test, n_repeats=20, random_state=SEED,
                                    scoring="neg_mean_absolute_error")
order = importance.importances_mean.argsort()
plt.barh(table.columns[order], importance.importances_mean[order],
         xerr=importance.importances_std[order], color="#1b3a5c", ecolor="#c8553d")
plt.xlabel("MAE it costs to shuffle this column");

# %% [markdown]
# A short bar does not prove that a column is useless: where two columns say nearly the same, shuffling one of them costs little, since the other still says it.
#
# **Exercise 4.** Which two columns of `x` are most alike (by their correlation, whichever its sign)? Give two names in a set, like `{"age", "bmi"}`.

# %%
answer = ...
check("tutorial2.4", answer, table=x)

# %% [markdown]
# ## 8. Many numbers at once: a heart
#
# Now virtual hearts. An ECG records the heart from the skin, from twelve sides: each side is a *lead*. In each lead, the large wave of a heartbeat is the *QRS
# complex*: the *ventricles*, the two main chambers, activate. From each ECG we compute a few features by hand: how tall and how deep the QRS complex is in each lead,
# how much area it has, and when the heart's activity begins and ends. From these, **75 activation times at once**: when each of 75 points in the ventricles fires.

# %%
data = intracardiac.load(hearts=HEARTS, cases=CASES)
print(data.source)

# %%
def features_of(ecg_mv):
    """(cases, 12, 500) mV -> (cases, 38): height, depth, area of leads, first and last slope."""
    slope = np.abs(np.diff(ecg_mv, axis=2)).mean(axis=1)
    strong = slope > 0.15 * slope.max(axis=1, keepdims=True)
    first, last = strong.argmax(axis=1), 250 - strong[:, 250::-1].argmax(axis=1)
    qrs = ecg_mv[:, :, :250]
    return np.column_stack([qrs.max(axis=2), qrs.min(axis=2), qrs.mean(axis=2), first, last])


# %%
few = features_of(data.ecg_mv)
mean_map = np.nanmean(data.activation_ms, axis=0)
times = np.where(np.isnan(data.activation_ms), mean_map, data.activation_ms)
hearts = data.table["heart"].to_numpy()
print(few.shape, "features ->", times.shape, "times")

# %% [markdown]
# One more trap. The cases of one heart resemble each other. If some of them are learned from and others tested, the model has seen the heart.
# `GroupKFold` keeps each heart in one part.

# %%
many = {
    "mean map": make_pipeline(StandardScaler(), Ridge(1e9)),
    "ridge": make_pipeline(StandardScaler(), Ridge(10.0)),
    "forest": RandomForestRegressor(TREES // 3, min_samples_leaf=2, max_features=0.4,
                                    random_state=SEED, n_jobs=-1),
}
answers = {}
for name, model in many.items():
    maps = cross_val_predict(model, few, times, groups=hearts, cv=GroupKFold(4))
    answers[name] = np.abs(maps - times).mean()
    print(f"{name:>9}: MAE {answers[name]:.1f} ms on hearts it has not seen")

# %%
mixed = KFold(4, shuffle=True, random_state=SEED)  # each heart in all four parts
seen = np.abs(cross_val_predict(many["forest"], few, times, cv=mixed) - times).mean()
plots.bars({"forest, mixed hearts": seen, "forest, unseen hearts": answers["forest"],
            "ridge, unseen hearts": answers["ridge"], "mean map": answers["mean map"]}, "MAE (ms)");

# %% [markdown]
# **Exercise 5.** By how many milliseconds does mixing hearts flatter the forest?

# %%
answer = ...
check("tutorial2.5", answer, unseen=answers["forest"], seen=seen)

# %% [markdown]
# A few features by hand are far from all that the ECG says. In **task 3** (`notebooks/task_3_getting_started.ipynb`) a network reads the
# whole curve, and the map appears on a heart.
