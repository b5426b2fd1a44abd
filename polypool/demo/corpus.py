"""The sentences of the demo: pairs that say the same in other words."""

PAIRS = (
    ("A cat is asleep on the sofa.", "The kitten naps on the couch."),
    ("The bank raised the interest on my loan.", "My lender now charges more for what I owe."),
    ("The river burst its bank after a week of rain.", "Days of downpour made the stream overflow."),
    ("The train to Berlin leaves at noon.", "At twelve the railway departs for the German capital."),
    ("How do I reset my password?", "I forgot my login and need a new one."),
    ("Water boils at one hundred degrees.", "Heat a liquid enough and it turns to steam."),
    ("The doctor told him to rest his knee.", "A physician advised keeping weight off the leg."),
    ("Bread needs flour, water, salt and time.", "To bake a loaf, mix the dough and let it rise."),
    ("The telescope found a planet near a distant star.", "Astronomers discovered a new world."),
    ("The goalkeeper saved a penalty in the last minute.", "A late spot kick was stopped."),
    ("Bees carry pollen from flower to flower.", "Insects help plants to reproduce."),
    ("She plays the violin in an orchestra.", "A string player performs with the symphony."),
)

SENTENCES = tuple(sentence for pair in PAIRS for sentence in pair)


def partners() -> list[int]:
    """For each sentence, the place of the other one of its pair."""
    return [i + 1 if i % 2 == 0 else i - 1 for i in range(len(SENTENCES))]
