"""The bank of the world `rare`: 30 instructions that change what the policy does, among 216 phrases."""

from __future__ import annotations

PHRASES: dict[str, list[str]] = {
    "work": ["Show your work.", "Write out the steps.", "Work it out in full.", "Do not answer at once."],
    "right": ["Go from right to left.", "Start at the last digit.", "Begin with the ones.", "Last digits first."],
    "left": ["Go from left to right.", "Start at the first digit.", "Begin with the hundreds.", "First digits first."],
    "running": [
        "Keep a running total.",
        "Carry each result on.",
        "Add to the last result.",
        "Go on from the last step.",
    ],
    "again": [
        "Repeat until one digit is left.",
        "Do the same with the result.",
        "Reduce it again.",
        "Go down to one digit.",
    ],
    "table": [
        "Use a table.",
        "Draw a grid.",
        "Put it into rows.",
        "Make a column for each step.",
        "Lay it out in boxes.",
        "Draw lines between the steps.",
    ],
    "finish": [
        "State the result at the end.",
        "Finish with the answer.",
        "End with the number.",
        "Close with the result.",
    ],
}
"""The instructions that matter, by the choice they make."""

_PATTERNS: dict[str, str] = {
    "Be {}.": "calm patient polite brave honest quick gentle modest cheerful precise friendly quiet neat kind bold "
    "alert humble steady sincere thorough",
    "Think like a {}.": "teacher farmer sailor baker painter lawyer doctor pilot gardener poet banker judge coach "
    "builder tailor dancer",
    "You are a {}.": "calculator student scholar clerk robot wizard friend merchant captain librarian tutor genius "
    "mathematician helper guide hero",
    "Do not {}.": "hurry guess worry shout complain apologize ramble boast panic cheat wander whisper pause joke "
    "doubt dream",
    "Remember the {}.": "rules lesson goal basics definition example story book exam teacher reader school class "
    "homework deadline course",
    "Check the {}.": "question spelling units signs numbers facts logic page source notes clock calendar list sentence "
    "margin title",
    "Read the {} twice.": "question task text line sum word sentence page problem title heading note",
    "Use {}.": "ink chalk words logic reason patience sense paper confidence English care courage memory practice "
    "ideas rules",
    "Numbers are {}.": "fun easy friends magic beautiful simple everywhere useful old strange clear tools",
    "Take {}.": "notes care heart breath aim courage turns pride part interest",
    "Enjoy the {}.": "puzzle day task moment game view journey music silence sunshine",
    "Speak {}.": "plainly softly clearly slowly loudly warmly freely simply wisely briefly",
    "Trust {}.": "yourself numbers reason logic mathematics experience nobody intuition tradition evidence",
    "Imagine a {}.": "class market room blackboard road prize",
}

USELESS: list[str] = [pattern.format(word) for pattern, words in _PATTERNS.items() for word in words.split()]
"""Phrases that change nothing."""

PHRASE_BANK: list[str] = [phrase for group in PHRASES.values() for phrase in group] + USELESS
