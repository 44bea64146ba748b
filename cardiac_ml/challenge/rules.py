"""What a challenge says of itself: the page for participants, which is also a page of an exported competition."""
from cardiac_ml.challenge.scoring import MAIN, MORE_IS_BETTER
from cardiac_ml.challenge.submission import TASKS

INPUTS = {1: "heartbeats, (cases, 187), scaled to 0..1, 125 Hz", 2: "heartbeats, (cases, 187), scaled to 0..1, 120 Hz",
          3: "twelve leads, (cases, 12, 500), mV, 1 kHz", 4: "twelve leads, (cases, 12, 500), mV, 1 kHz"}
LEARN = {1: "`ecg_dataset/ptbdb_normal.csv`, `ptbdb_abnormal.csv`",
         2: "`ecg_dataset/mitbih_train.csv`, `mitbih_test.csv`",
         3: "`intracardiac_dataset/`", 4: "`intracardiac_dataset/`"}
NAMES = {1: ("beats", "label"), 2: ("beats", "label"), 3: ("ecg_mv", "activation_ms"), 4: ("ecg_mv", "voltage_mv")}
PAGE = """# The challenge

Learn from {train} virtual hearts, predict {test} that nobody has seen. The data are simulated: no patient is in them.

| task | learn from | predict | your answer, a case | ranked by |
| --- | --- | --- | --- | --- |
{tasks}

## Start

```python
from cardiac_ml import challenge
train, valid, test = challenge.load("public", task={first})    # two datasets with answers, and cases without
print(train, valid, test, sep="\\n")
# Yours: learn from train.{see} what train.{known} is, then predict it for test.{see}.
challenge.submit(test, prediction, team="our name")    # writes submission_task_{first}.npz, once all is right with it
```

`CARDIAC_ML_DATA=public` makes the notebooks read these data too. Without the kit: each `test_task_N.npz` holds
`ids` and `inputs`, and `template_task_N.npz` is a valid submission: put your numbers into its `prediction`. Tasks 1
and 2 may be a `.csv` file with the columns `id` and the classes. `python -m cardiac_ml check FILE --challenge public`
says what is wrong with a file.

## Rules

* {deadline}
* Half of the test hearts are on the board during the week, the other half decides at the end. There your best file of
  the week counts.
* {extra}
* Labels that are NaN (a point that never activates) are left out of the score.
* Whoever looks for the answers in the files instead of the ECGs is welcome to tell the mentors how.
"""


def readme(tasks, train_hearts, test_hearts, deadline=None, extra_hearts=True):
    rows = [f"| {task}: {TASKS[task].title} | {LEARN[task]} "
            f"| `test_task_{task}.npz`: {INPUTS[task]} | {answer(task)} "
            f"| {MAIN[task]}, {'higher' if MORE_IS_BETTER[task] else 'lower'} is better |"
            for task in sorted(set(tasks))]
    return PAGE.format(
        train=train_hearts, test=test_hearts, tasks="\n".join(rows), first=(first := 3 if 3 in tasks else max(tasks)),
        see=NAMES[first][0], known=NAMES[first][1],
        deadline=f"Hand in until {deadline}." if deadline else "The mentors say until when.",
        extra="More virtual hearts of your own (`python -m cardiac_ml simulate`) are allowed to learn from."
        if extra_hearts else "Learn from these data only, not from further virtual hearts.")


def answer(task):
    """The shape and unit of one case's prediction, in words."""
    if TASKS[task].columns:
        return f"probabilities of {', '.join(TASKS[task].columns)}"
    return f"{TASKS[task].shape}, {TASKS[task].unit}"
