"""A small network that reads the six sides of heart and thorax off a chest X-ray, and says how sure it is."""
import torch
import torch.nn.functional as F
from torch import nn

from cardiac_ml.xray.augment import equalise, local_contrast
from cardiac_ml.xray.picture import SIZE

MOST_MEMBERS = 16  # of an ensemble: a file may claim any number


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut past them, as in ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.shortcut(x))


class SideHead(nn.Module):
    """For each side a distribution over the columns (or rows) of the feature map; its mean is the answer.

    A linear layer on pooled features has to learn what 'left' means; here a place is a place. The spread of the
    distribution says how sure the network is of that side.
    """

    along_x = (True, False, True, False, True, True)  # heart x0 y0 x1 y1, thorax x0 x1

    def __init__(self, channels: int):
        super().__init__()
        self.score = nn.Conv2d(channels, 6, 1)
        self.weight = nn.Conv2d(channels, 6, 1)

    def forward(self, features):
        score, weight = self.score(features).float(), self.weight(features).float()
        sides = []
        for side, along in enumerate(self.along_x):
            across = 1 if along else 2  # which rows matter for a column is learned too
            sides.append((score[:, side] * weight[:, side].softmax(across)).sum(across))
        return torch.stack(sides, 1)  # (n, 6, places) logits


class HeartFinder(nn.Module):
    """Pictures (n, 1, size, size) in 0..1 -> (n, 7, places): logits of the six sides, then that of 'a frontal chest'.

    ResNet-18 for one grey channel, less than half as wide. Its coarse maps, which have seen the whole chest, are added
    to the finer one, which knows where edges are. Two views of the picture go in, neither of which shows the
    detector's tone curve: the equalised one and the local contrast.
    """

    def __init__(self, width: int = 24, size: int = SIZE):
        super().__init__()
        self.config = dict(width=width, size=size)  # size: of the pictures that it was trained on
        self.size = size
        self.stem = nn.Sequential(nn.Conv2d(2, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList(nn.Sequential(Block(before, after, 2), Block(after, after))
                                    for before, after in zip(widths, widths[1:]))  # 1/4, 1/8, 1/16, 1/32
        wide = 4 * width
        self.across = nn.ModuleList(nn.Conv2d(channels, wide, 1) for channels in widths[2:])
        self.blend = nn.Sequential(nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
                                   nn.Dropout2d(0.2))
        self.sides = SideHead(wide)
        self.chest = nn.Linear(8 * width, 1)
        self.register_buffer("usual_spread", torch.tensor(1.0))  # of the heart's sides on chests like those trained on

    def views(self, pictures):
        """(n, 2, size, size): what the network sees."""
        with torch.autocast(pictures.device.type, enabled=False):
            pictures = pictures.float()
            local = local_contrast(pictures, max(2, pictures.shape[-1] // 12))
            return torch.cat([2 * equalise(pictures) - 1, local], 1)

    def from_views(self, views):
        x, maps = self.stem(views.contiguous(memory_format=torch.channels_last)), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        y = self.across[2](maps[3])
        for across, fine in ((self.across[1], maps[2]), (self.across[0], maps[1])):
            y = F.interpolate(y, size=fine.shape[-2:], mode="bilinear", align_corners=False) + across(fine)
        sides, chest = self.sides(self.blend(F.relu(y))), self.chest(x.mean((2, 3))).float()
        return torch.cat([sides, chest[:, :, None].expand(-1, -1, sides.shape[2])], 1)

    def forward(self, pictures):
        return self.from_views(self.views(pictures))


class Ensemble(nn.Module):
    """Several heart finders asked at once: the mean of their distributions, which is wide where they disagree."""

    def __init__(self, members: int = 3, width: int = 24, size: int = SIZE):
        super().__init__()
        if not 1 <= members <= MOST_MEMBERS:
            raise ValueError(f"{members} members, expected 1 to {MOST_MEMBERS}")
        self.config = dict(members=members, width=width, size=size)
        self.members = nn.ModuleList(HeartFinder(width, size) for _ in range(members))
        self.size = size
        self.register_buffer("usual_spread", torch.tensor(1.0))

    def views(self, pictures):
        return self.members[0].views(pictures)

    def from_views(self, views):
        outputs = torch.stack([member.from_views(views) for member in self.members])
        sides = outputs[:, :, :6].softmax(-1).mean(0).clamp(min=1e-12).log()
        return torch.cat([sides, outputs[:, :, 6:].mean(0)], 1)

    def forward(self, pictures):
        return self.from_views(self.views(pictures))


def mean_place(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation, as fractions of the frame, of distributions with logits (..., places)."""
    share = logits.softmax(-1)
    place = (torch.arange(logits.shape[-1], device=logits.device) + 0.5) / logits.shape[-1]
    mean = (share * place).sum(-1)
    return mean, ((share * place**2).sum(-1) - mean**2).clamp(min=1e-9).sqrt()


# ------------------------------------------------------------------------------------------------------------ the loss

def generalised_iou(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """(n, 4) boxes -> (n,) IoU less the share of the common box that neither covers."""
    low, high = torch.maximum(predicted[:, :2], true[:, :2]), torch.minimum(predicted[:, 2:], true[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    area = (predicted[:, 2:] - predicted[:, :2]).clamp(min=0).prod(1) + (true[:, 2:] - true[:, :2]).prod(1)
    union = (area - shared).clamp(min=1e-6)
    hull = (torch.maximum(predicted[:, 2:], true[:, 2:]) - torch.minimum(predicted[:, :2], true[:, :2])).prod(1)
    return shared / union - (hull - union) / hull.clamp(min=1e-6)


def sides_loss(output, targets: torch.Tensor, blur: float = 0.02) -> torch.Tensor:
    """Loss of one batch; targets (n, 7) are the sides and whether it is a chest (only then do the sides count).

    Smooth-L1 and GIoU pull the means, cross-entropy against a narrow bell pulls the whole distribution, which keeps
    its spread honest.
    """
    logits, chest = output[:, :6], output[:, 6, 0]
    seen = targets[:, 6] > 0.5
    loss = 0.3 * F.binary_cross_entropy_with_logits(chest, targets[:, 6])
    if not seen.any():
        return loss
    logits, sides = logits[seen], targets[seen, :6]
    mean, _ = mean_place(logits)
    place = (torch.arange(logits.shape[-1], device=logits.device) + 0.5) / logits.shape[-1]
    bell = (-((place - sides[..., None]) / blur) ** 2 / 2).softmax(-1)
    spread = -(bell * logits.log_softmax(-1)).sum(-1).mean()
    return (loss + 0.2 * spread + 10 * F.smooth_l1_loss(mean, sides, beta=0.02)
            + 1 - generalised_iou(mean[:, :4], sides[:, :4]).mean())
