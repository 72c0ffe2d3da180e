"""The defaults of `gdkernels train`.

Chosen on digits, diabetes, breast_cancer and wine of scikit-learn, each over ten random splits other than those of
the seeds 0 to 9, and checked on made-up data of 20,000 records. Differences below the spread of the splits were
decided for the simpler setting.
"""

ACTIVATION = "relu"
OPTIMIZER = "adam"  # at its usual rate of 1e-3; 3e-3 was worse on all but wine
MOMENTUM = 0.9  # for --optimizer sgd, which on its own is slow

VALIDATION = 0.1  # of the rows not held out; 0.15 and 0.2 gave the same
SEARCH_VALIDATION = 0.2  # for a search, which compares many networks on the same rows
TEST = 0.2

FEWEST, FEW, SMALL, LARGE = 20, 1000, 10_000, 100_000  # rows
ENCODED = 500  # training rows from which on numbers are encoded: with fewer, the edges are noise

# Several networks are trained and averaged. Up to FEW rows, the part that one leaves out is a rough measure: all
# networks choose the penalty together, and the epoch in which they stop (nine small tables with gaps, six splits
# each: 0.763 on average, 0.745 without the choice, 0.737 when each stops by itself). From there to SMALL rows, a few
# networks look when their mean fits rows best that none has seen, which is later than for each alone: on wine, with a
# log loss of 0.94 for the mean of networks that stop by themselves, it was 0.93 so, and 0.91 when they are then
# trained on all rows. No choice of a penalty was better there than the one below: on house prices, R² 0.90 with one
# and 0.91 without. Beyond SMALL rows, the first network's part is large enough to choose the penalty, and the price
# of a second layer is paid back: accuracy 0.83 instead of 0.76 where inputs multiply. Beyond LARGE rows, one network
# takes its time.

# Five networks gain most of what ten do. Others are trained while all have taken at most so many multiply-adds, forward
# and backward: about ten seconds of one core.
AT_LEAST, MOST_WORK = 5, 2.5e11
# Networks that stop together have been paid for once when they are trained again: three have to do where that takes
# long.
AT_LEAST_TOGETHER = 3
# The loss of a mean is smooth, so that they wait less long for a lower one.
PATIENCE_TOGETHER = 15
# As many look for the moment as have this work of an epoch in common.
WORK_OF_STOPPING, MOST_STOPPING, FEWEST_STOPPING = 5e8, 5, 2

LOSSES = {"classification": "cross_entropy", "regression": "sse"}


def folds(records: int) -> int:
    """Return in how many parts the rows are cut, and how many networks are averaged.

    Ten where there is time for them; where all are trained for several penalties, five were as good. Of ten, fewer are
    trained where these take long.
    """
    return 10 if FEW < records <= SMALL else 5


def stopping_together(multiply_adds: float) -> int:
    """Return how many networks look together for the epoch to stop in, by the multiply-adds of a forward pass."""
    return int(min(MOST_STOPPING, max(FEWEST_STOPPING, WORK_OF_STOPPING // max(1, multiply_adds))))


def hidden(records: int) -> tuple[int, ...]:
    """Return how many units the hidden layers have."""
    return (256,) if records <= SMALL else (128, 128)


def hidden_of_encoded(records: int) -> tuple[int, ...]:
    """Return how many units the hidden layers have where numbers are encoded: a second layer pays from FEW rows on."""
    return (256,) if records < FEW else (128, 128)


def hidden_of_least_squares(inputs: int, outputs: int) -> tuple[int, ...]:
    """Return how many units the hidden layer has for Levenberg–Marquardt: some 600 parameters, so that it is quick."""
    return (max(4, min(30, 600 // (inputs + outputs + 1))),)


def bins(records: int) -> int:
    """Return in how many bins a number is encoded.

    Of 8, 16 and 24, from FEW to SMALL rows 16 was best on wine, air and bikes, or as good as another.
    """
    if records < FEW:
        return 8
    return 16 if records <= SMALL else 24


def bins_of_days(records: int) -> int:
    """Return in how many bins the number of a day is encoded.

    On air, where sensors fail for days, 16, 64 and 128 bins of 391 days gave R² 0.80, 0.81 and 0.82.
    """
    return max(bins(records), min(128, records // 50))


def l2(records: int, *, encoded: bool = False) -> float:
    """Return λ of the penalty ½λ‖W‖² for so many training records.

    A prior of the weights that does not depend on how much data there is has this form: its weight against the mean
    loss falls as 1/records. Of 2, 4 and 8, with gaps punched into small tables, 4 was the best or near it on all:
    diabetes prefers 8 (R² 0.43 against 0.41), house prices and petals 4. Where numbers are encoded, each
    weight sees few records, and from FEW on 1 was better than 4 on wine (log loss 0.940, not 0.947), bikes and air.
    """
    return (1.0 if encoded and records >= FEW else 4.0) / records


def epochs(records: int) -> int:
    """Return the largest number of passes: enough for wine, the slowest; patience ends quicker ones."""
    return 1000 if records <= SMALL else 200


def patience(records: int) -> int:
    """Return for how many epochs the validation loss may not fall.

    A few validation rows are a rough measure: on small tables 30 was better than 10 on four of five, by up to 0.02.
    """
    return 30 if records <= SMALL else 10


def batch_size(records: int) -> int:
    """Return how many records a step uses: a power of two from 32 to 512, for at least 400 steps an epoch if it can.

    32 against 16 and 64 made no difference on small tables; on 20,000 records 64 was better than 128, and 128 than 256,
    in as many epochs. On larger ones there are steps enough, and a larger batch keeps the device busy.
    """
    size = 32
    while size < 512 and records > 400 * size:
        size *= 2
    return size
