"""Tables of memories and questions for judging rankings of candidates: chats, tools and utterances.

LoCoMo is evaluation only. Utterances of banking77 and clinc150 stand for short memories: three of an intent
answer a fourth. The chats are made up: facts are said, and later said anew with another value; the newest holds.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import pyarrow.parquet as pq

from common import SHARED
from tiny_dancer import Candidate
from tiny_dancer.training.candidates.data import Memories, Question, Questions, read_memories, read_questions

Table = tuple[Memories, Questions]
DAY = 86_400.0
_PEOPLE = ("Nora", "Emil", "Ines", "Tariq", "Yuki", "Olga", "Ravi", "Lena", "Hugo", "Amina", "Pavel", "Mei")
_FACTS = (
    (
        ("live", "Where does {who} live?", "In which town is {who}'s home?"),
        ("I live in {value}.", "I moved to {value}, boxes everywhere.", "My flat in {value} is small but bright."),
        ("Oslo", "Porto", "Lima", "Riga", "Ghent", "Turin", "Cork", "Gdansk"),
    ),
    (
        ("work", "Where does {who} work?", "Who employs {who}?"),
        ("I work for {value}.", "I started a job at {value}.", "Work at {value} keeps me busy."),
        (
            "the city archive",
            "a bakery",
            "the observatory",
            "a bicycle shop",
            "the port authority",
            "a film studio",
        ),
    ),
    (
        ("phone", "What is {who}'s phone number?", "Which number can I reach {who} at?"),
        ("My phone number is {value}.", "Note my new number: {value}.", "You can reach me at {value}."),
        ("555-0142", "555-0199", "555-0117", "555-0163", "555-0181", "555-0126"),
    ),
    (
        ("passport", "What is {who}'s passport number?", "Which passport does {who} travel with?"),
        (
            "My passport number is {value}.",
            "The passport office sent me {value}.",
            "I travel with passport {value}.",
        ),
        ("K4410297", "P9921744", "R3065518", "T7720913", "B1840066", "M5502381"),
    ),
    (
        ("pet", "Which pet does {who} have?", "What animal lives with {who}?"),
        ("I have {value} at home now.", "We adopted {value}.", "My pet is {value}."),
        ("a beagle", "two parrots", "a tortoise", "a grey cat", "three hens", "a rabbit"),
    ),
    (
        ("meeting", "When is {who}'s weekly meeting?", "On which day does {who} meet the team?"),
        (
            "The weekly meeting is on {value}.",
            "We moved the team meeting to {value}.",
            "My team meets on {value}.",
        ),
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    ),
    (
        ("drink", "What does {who} like to drink?", "Which drink should I order for {who}?"),
        ("I drink {value} these days.", "{value} is my favourite drink.", "Order {value} for me, please."),
        ("green tea", "black coffee", "ginger ale", "oat milk", "tomato juice", "mint lemonade"),
    ),
    (
        ("instrument", "Which instrument does {who} play?", "What is {who} learning to play?"),
        ("I play the {value}.", "I took up the {value}.", "My {value} lessons go well."),
        ("violin", "cello", "trumpet", "harp", "accordion", "clarinet"),
    ),
)
_TALK = (
    "ok thanks", "Sounds good!", "How was your weekend?", "Not bad, it rained a lot.", "Did you watch the match?",
    "I could not sleep last night.", "The bus was late again.", "What are you cooking?", "Soup, as always.",
    "See you tomorrow.", "Have you seen my keys?", "They are on the table.", "I read a good book about whales.",
    "Who wrote it?", "My sister gave it to me.", "That is funny.", "Can you call the plumber?",
    "I will, after lunch.",
    "The garden needs water.", "Happy birthday!", "Let us go for a walk.", "Which film did you like best?",
    "The old one about the sea.", "I lost my umbrella in the train.", "thank you so much", "No worries.",
)  # fmt: skip


def _made(conversations: dict[str, list[Candidate]], questions: list[Question], name: str) -> Table:
    latest = {
        key: max((each.created_at for each in found if each.created_at is not None), default=None)
        for key, found in conversations.items()
    }
    memories = Memories({key: tuple(found) for key, found in conversations.items()}, latest, name, name)
    return memories, Questions(tuple(questions), 0, name)


def locomo() -> Table:
    """Four long conversations with their questions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        memories = read_memories(SHARED / "locomo_memories.parquet")
        return memories, read_questions(SHARED / "locomo_questions.parquet", memories)


def tools(name: str, most: int = 300) -> Table:
    """Requests for tools described by name and purpose: `seal` or `meta`."""
    found = []
    for row in pq.read_table(SHARED / f"tools_{name}.parquet").to_pylist():
        schema = json.loads(row["schema"])
        found.append(Candidate(row["tool_id"], text=f"{schema['name']}: {schema.get('description') or ''}"))
    known = {each.id for each in found}
    rows = pq.read_table(SHARED / f"tools_{name}_queries.parquet").to_pylist()
    rows = random.Random(0).sample(rows, most)
    questions = [
        Question("tools", row["query"], None, None, tuple(dict.fromkeys(i for i in row["tool_ids"] if i in known)))
        for row in rows
    ]
    return _made({"tools": found}, [each for each in questions if each.evidence], f"tools_{name}")


def utterances(name: str, most: int = 300) -> Table:
    """Three utterances of each intent as memories, others as questions: `banking77` or `clinc150`."""
    rows = pq.read_table(SHARED / f"{name}_train.parquet").to_pylist()
    random.Random(0).shuffle(rows)
    by_intent: dict[str, list[str]] = {}
    for row in rows:
        if row["intent"] != "oos":
            by_intent.setdefault(row["intent"], []).append(row["text"])
    found = [
        Candidate(f"{intent}.{place}", text=text)
        for intent, texts in sorted(by_intent.items())
        for place, text in enumerate(texts[:3])
    ]
    asked = [(intent, text) for intent, texts in sorted(by_intent.items()) for text in texts[3:13]]
    questions = [
        Question("utterances", text, None, None, tuple(f"{intent}.{place}" for place in range(3)))
        for intent, text in random.Random(1).sample(asked, most)
    ]
    return _made({"utterances": found}, questions, name)


def chats(count: int = 20, seed: int = 0) -> Table:
    """Conversations of two over 400 days; of a fact that was said anew, the newest is the answer."""
    chance = random.Random(seed)
    conversations, questions = {}, []
    for number in range(count):
        name = f"chat {number}"
        pair = chance.sample(_PEOPLE, 2)
        sessions = sorted(chance.uniform(0, 400) for _ in range(24))
        said: dict[int, list[tuple[str, str, tuple[int, int] | None]]] = {place: [] for place in range(24)}
        for who in pair:
            for fact, (_, statements, values) in enumerate(_FACTS):
                times = sorted(chance.sample(range(24), chance.choice((1, 2, 2, 3, 4))))
                for place, value in zip(times, chance.sample(values, min(len(times), len(values))), strict=False):
                    text = chance.choice(statements).format(value=value)
                    said[place].append((who, text, (pair.index(who), fact)))
        newest: dict[tuple[int, int], str] = {}
        found: list[Candidate] = []
        for place, day in enumerate(sessions):
            turns = [*said[place], *((chance.choice(pair), text, None) for text in chance.sample(_TALK, 9))]
            chance.shuffle(turns)
            for who, text, fact in turns:
                id = f"{place}.{len(found)}"
                made = 1.7e9 + DAY * day + 30.0 * len(found)
                found.append(
                    Candidate(id, text=text, created_at=made, group=str(place), metadata={"speaker": who})
                )
                if fact is not None:
                    newest[fact] = id
        conversations[name] = found
        now = 1.7e9 + DAY * 401
        for (who, fact), id in newest.items():
            text = chance.choice(_FACTS[fact][0][1:]).format(who=pair[who])
            questions.append(Question(name, text, now, None, (id,)))
    return _made(conversations, questions, "chats")


def tables() -> dict[str, Table]:
    """All of them by name."""
    return {
        "locomo": locomo(),
        "tools seal": tools("seal"),
        "tools meta": tools("meta"),
        "banking77": utterances("banking77"),
        "clinc150": utterances("clinc150"),
        "chats": chats(),
    }


def timeless(questions: Questions) -> Questions:
    """The same asked at no time: recency is unknown then."""
    return replace(questions, questions=tuple(replace(each, now=None) for each in questions.questions))
