"""Named recipes: the paper's, each number once with its source, and two of our own for small data.

"The paper" is Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019; section 4 trains Kinetics
and Charades, section 5 AVA. Batches there are 1024 clips on 128 GPUs; rates follow the batch by the linear scaling
rule, which the paper takes from Goyal et al. 2017, and so do the lengths of warm-up in updates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from detector.data.transforms import Augmentation
from detector.errors import UserError, perhaps
from detector.training.recipe import Recipe
from detector.views import FrameView, View

Kind = Literal["boxes", "videos", "person"]

# Section 4: mini-batch of 1024 clips; base rate 1.6; momentum 0.9; weight decay 1e-4.
PAPER_BATCH = 1024
PAPER = Recipe(
    optimizer="sgd", rate=1.6, rate_batch=PAPER_BATCH, momentum=0.9, weight_decay=1e-4, batch=64, precision="bf16",
)
# Section 4: short side in [256, 320], crop 224, horizontal flip.
PAPER_AUGMENTATION = Augmentation(short_side_px=(256, 320), crop_px=224, flip=0.5)


@dataclass(frozen=True)
class Plan:
    """A recipe and what goes with it.

    Attributes:
        kind: what it learns from: key frames with boxes, whole videos, or people's boxes alone.
        recipe: numbers of the training.
        augmentation: what is done to clips.
        warmup_updates: at a batch of 1024; scaled to the batch in use.
        head, activation: of the network.
        dropout: before the last layer.
        balanced: draw rare actions more often.
        about: one line.
    """

    kind: Kind
    recipe: Recipe
    augmentation: Augmentation
    warmup_updates: int
    head: Literal["detection", "classification"]
    activation: Literal["sigmoid", "softmax"]
    dropout: float
    balanced: bool
    about: str

    def recipe_for(self, settings: list[str]) -> Recipe:
        """The recipe with a user's `name=value` settings; the warm-up follows the batch unless it is set."""
        recipe = self.recipe.with_numbers(settings)
        if self.warmup_updates and not any(s.startswith("warmup_steps=") for s in settings):
            recipe = replace(recipe, warmup_steps=round(self.warmup_updates * PAPER_BATCH / recipe.batch))
        return recipe

    def clips_apart(self, recipe: Recipe, view: View, settings: list[str], processes: int = 1) -> Recipe:
        """The recipe in parts of one clip where whole frames keep their own sizes, which no batch can hold together.

        The sums over an update are the same. A user's own `accumulation=` stays.
        """
        alike = self.kind != "boxes" or self.augmentation.crop_px or not isinstance(view, FrameView)
        if alike or recipe.batch % processes or any(s.startswith("accumulation=") for s in settings):
            return recipe
        return replace(recipe, accumulation=recipe.batch // processes)


PLANS = {
    "kinetics": Plan(
        # Section 4: half-period cosine; 196 epochs where T > 4 (256 where T <= 4: --set epochs=256); warm-up over
        # the first 8k iterations; dropout 0.5; softmax.
        kind="videos", recipe=replace(PAPER, loss="softmax", schedule="cosine", epochs=196, best_metric="top1"),
        augmentation=PAPER_AUGMENTATION, warmup_updates=8000, head="classification", activation="softmax", dropout=0.5,
        balanced=False, about="Kinetics from scratch, as section 4 of the paper",
    ),
    "charades": Plan(
        # Section 4: 24k iterations of batch 16 at 0.0375 from Kinetics-400 weights, x0.1 when validation saturates;
        # one sigmoid a class.
        kind="videos",
        recipe=replace(PAPER, rate=0.0375, rate_batch=16, batch=16, steps=24000, schedule="plateau", factor=0.1,
                       validate_every=1000),
        augmentation=PAPER_AUGMENTATION, warmup_updates=0, head="classification", activation="sigmoid", dropout=0.5,
        balanced=False, about="Charades from Kinetics weights, as section 4 of the paper",
    ),
    "ava": Plan(
        # Section 5: 68 epochs (14k iterations over 211k clips); x0.1 when validation saturates; warm-up over the
        # first 1k iterations; weight decay 1e-7; the rest as Kinetics; ground-truth boxes, crops of 224.
        kind="boxes",
        recipe=replace(PAPER, loss="bce", schedule="plateau", factor=0.1, weight_decay=1e-7, epochs=68),
        augmentation=PAPER_AUGMENTATION, warmup_updates=1000, head="detection", activation="sigmoid", dropout=0.5,
        balanced=False, about="AVA from Kinetics weights, as section 5 of the paper",
    ),
    "finetune": Plan(
        # Our own, for some hundred clips: early layers and all batch-norm statistics stay, the trunk learns ten
        # times slower than the new head, rare actions are drawn more often, the last weights are averaged.
        kind="boxes",
        recipe=Recipe(
            loss="bce", optimizer="adamw", rate=1e-3, schedule="cosine", warmup_steps=20, warmup_start=0.1,
            weight_decay=0.02, epochs=20, batch=8, norm="frozen", frozen=("s1*", "s2*"), rate_factors=(("s*", 0.1),),
            ema_decay=0.98, clip_norm=5.0,
        ),
        augmentation=Augmentation((256, 288), 0, 0.5, box_jitter=0.05, brightness=0.1, contrast=0.2), warmup_updates=0,
        head="detection", activation="sigmoid", dropout=0.5, balanced=True,
        about="your own actions from published or bundled weights",
    ),
    "person": Plan(
        # The paper fine-tunes a Faster R-CNN on AVA's person boxes and gives no numbers of that training; rate and
        # weight decay are those of torchvision's detection reference (0.02 for a batch of 16, 1e-4).
        kind="person",
        recipe=Recipe(
            optimizer="sgd", rate=0.02, rate_batch=16, momentum=0.9, weight_decay=1e-4, norm_weight_decay=1e-4,
            schedule="steps", milestones=(0.6, 0.85), factor=0.1, warmup_steps=500, warmup_start=0.001, epochs=2,
            batch=16, accumulation=16, norm="frozen", best_metric="AP50",
        ),
        augmentation=Augmentation((256, 320), 0, 0.5), warmup_updates=0, head="detection", activation="sigmoid",
        dropout=0.0, balanced=False, about="torchvision's Faster R-CNN on people's boxes",
    ),
}


def find_plan(name: str) -> Plan:
    """The plan of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PLANS:
        raise UserError(f"--recipe {name}: unknown, expected one of {', '.join(PLANS)}{perhaps(name, PLANS)}")
    return PLANS[name]
