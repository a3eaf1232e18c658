"""Prompts in natural language and code, written for this project and made unique by dice."""

import random

ENTITIES = (
    "customer",
    "invoice",
    "shipment",
    "warehouse",
    "employee",
    "vehicle",
    "ticket",
    "product",
    "supplier",
    "account",
    "contract",
    "sensor",
    "booking",
    "course",
    "recipe",
    "payment",
    "device",
    "patient",
    "library",
    "parcel",
)
FIELDS = (
    "name",
    "status",
    "owner",
    "address",
    "category",
    "currency",
    "language",
    "region",
    "comment",
    "reference",
    "title",
    "colour",
    "contact",
    "priority",
    "source",
    "origin",
    "version",
    "group",
    "label",
    "kind",
)

ACCESSOR = """    def get_{field}(self):
        value = self.record.get("{field}")
        if value is None:
            return ""
        return str(value).strip()
"""

QUESTIONS = (
    "Explain to a {age}-year-old why {thing} matters, and give one surprising example.",
    "I am moving to a small town near {place} next month. What should I know about daily life there?",
    "Write a short letter to my landlord about {trouble}. Be polite but firm.",
    "What is the difference between {thing} and {other}? When would you choose one over the other?",
    "Tell me a story about a {age}-year-old inventor from {place} who is obsessed with {thing}.",
    "Plan a weekend in {place} for two friends who love {thing} but hate {other}.",
    "My team argues about {thing} at work. How can I calm things down without taking sides?",
    "Give me an honest opinion: is learning about {thing} at {age} worth the time?",
    "Describe the history of {thing} as if you were a radio presenter in {place}.",
    "How would {trouble} affect a family of four, and what could they do in the first week?",
    "Compose a birthday speech for my uncle, who turns {age} and only ever talks about {thing}.",
    "What questions should I ask an expert in {thing} if I only have ten minutes?",
)
THINGS = (
    "bees",
    "double-entry bookkeeping",
    "tidal power",
    "jazz",
    "sourdough bread",
    "chess openings",
    "rail freight",
    "volcanoes",
    "paper maps",
    "public libraries",
    "compilers",
    "rainwater",
    "medieval law",
    "bicycle gears",
    "tea",
    "antibiotics",
    "lighthouses",
    "radio waves",
    "city trees",
    "knitting",
    "glaciers",
    "opera",
    "concrete",
)
PLACES = ("Lisbon", "Tromsø", "Kyoto", "Valparaíso", "Ghent", "Tbilisi", "Nairobi", "Winnipeg", "Hobart", "Oaxaca")
TROUBLES = (
    "a leaking roof",
    "a noisy generator at night",
    "a broken lift",
    "a sudden loss of income",
    "mould in the cellar",
    "a flooded street",
    "a month without internet",
    "a cancelled train line",
)


def code_prompt(dice: random.Random) -> str:
    """The top of a source file of repetitive accessors, cut in the middle: what follows is mostly seen before."""
    entity = dice.choice(ENTITIES)
    head = f"# Export format {dice.randrange(10_000)}\nclass {entity.title()}:\n"
    body = "\n".join(ACCESSOR.format(field=field) for field in dice.sample(FIELDS, 3))
    return f"{head}{body}\n    def get_"


def chat_prompt(dice: random.Random) -> str:
    """A question of the open kind: the answer repeats little of it."""
    thing, other = dice.sample(THINGS, 2)
    question = dice.choice(QUESTIONS).format(
        age=dice.randrange(8, 90), thing=thing, other=other, place=dice.choice(PLACES), trouble=dice.choice(TROUBLES)
    )
    return f"{question} (Note {dice.randrange(10_000)}.)"
