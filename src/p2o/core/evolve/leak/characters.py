"""One character at a time: what cannot be seen falls away, what looks the same becomes the same."""

from __future__ import annotations

import unicodedata

_LOOKALIKES = {
    "A": "ΑАᎪᗅᴀꓮ𐊠𖽀",
    "a": "ɑαа",
    "B": "ʙΒВᏴᏼᗷꓐꞴ𐊂𐊡𐌁",
    "b": "ƄβЬᏏᑲᖯ",
    "C": "ϹСᏟⲤꓚ𐊢𐌂𐐕𐔜",
    "c": "ϲсᴄⲥꮯ𐐽",
    "D": "ÐĐᎠᗞᗪᴅꓓ",
    "d": "ðđԁᏧᑯꓒ",
    "E": "ΕЕᎬᴇⴹꓰ𐊆𑢦𑢮",
    "e": "ɛεеєҽꬲ",
    "F": "ϜᖴꓝꜰꞘ𐊇𐊥𐔥𑢢𑣂",
    "f": "ƒքẝꞙꬵ",
    "G": "ɢԌᏀᏳꓖ",
    "g": "ƍɡցᶃ",
    "H": "ĦʜΗНᎻᕼⲎꓧ𐋏",
    "h": "ħһհᏂ",
    "I": "ƖΙІӀⲒꓲ",
    "i": "ıɩɪιіӏᎥꙇꭵ𑣃",
    "J": "ͿЈᎫᒍᴊꓙꞲ",
    "j": "ϳј",
    "K": "ΚКᏦᛕᴋⲔꓗ𐔘",
    "k": "ĸƙκ",
    "L": "ŁʟᏞᒪⳐꓡ𐐛𐔦𑢣𑢲𖼖",
    "l": "łƚᛁⵏ𐊊𐌉𖼨",
    "M": "ΜϺМᎷᗰᛖᴍⲘꓟ𐊰𐌑",
    "N": "ɴΝⲚꓠ𐔓",
    "n": "ηпոռ",
    "O": "ØΟОՕⲞⵔꓳ𐊒𐊫𐐄𐓂𐔖𑢵",
    "o": "øοоօჿᴏᴑⲟꬽ𐐬𐓪𑣈𑣗",
    "P": "ΡРᏢᑭᴘⲢꓑ𐊕",
    "p": "þρрⲣ",
    "Q": "ⵕ",
    "q": "ԛգզ",
    "R": "ƦʀᎡᏒᖇꓣ𐒴𖼵",
    "r": "гᴦⲅꭇꭈꮁ",
    "S": "ЅՏᏕᏚꓢ𐊖𐐠𖼺",
    "s": "ƽѕꜱꮪ𐑈𑣁",
    "T": "ŦΤТᎢᴛⲦꓔ𐊗𐊱𐌕𑢼𖼊",
    "t": "ŧτ",
    "U": "Սᑌꓴ𐓎𑢸𖽂",
    "u": "ʋυսᴜꞟꭎꭒ𐓶𑣘",
    "V": "ѴᏙᐯⴸꓦ𐔝𑢠𖼈",
    "v": "νѵᴠꮩ𑣀",
    "W": "ԜᎳᏔꓪ",
    "w": "ɯωѡԝաᴡꮃ",
    "X": "ΧХᚷⲬⵝꓫꞳ𐊐𐊴𐌗𐔧",
    "x": "χхᕁᕽ",
    "Y": "ΥУҮᎩᎽⲨꓬ𐊲𑢤𖽃",
    "y": "ɣʏγуүყᶌỿꭚ𑣜",
    "Z": "ΖᏃꓜ𑢩",
    "z": "ᴢꮓ𑣄",
}
"""Letters that are read as a Latin one: Unicode's confusables.txt (UTS 39, letters only) and a few more."""

_SIGNS = {
    "−": "-", "⁃": "-", "×": "*", "✕": "*", "✖": "*", "∗": "*", "÷": "/", "⁄": "/", "∕": "/", "∶": ":",
    "∙": "·", "⋅": "·", "•": "·", "‧": "·", "・": "·", "º": "°", "˚": "°", "’": "'", "‘": "'", "ʼ": "'", "⠀": " ",
    "π": " pi ", "√": " sqrt ", "∞": " infty ", "≤": " le ", "≥": " ge ", "≠": " ne ", "±": " pm ", "∪": " cup ",
    "∩": " cap ", "θ": " theta ", "λ": " lambda ", "μ": " mu ", "φ": " phi ", "ϕ": " phi ",
}  # fmt: skip
"""Signs with several forms; those that LaTeX writes as a word get its word."""

_FILLERS = "\u115f\u1160\u3164\uffa0"  # letters by their category, and blank
_KEPT_CONTROLS = "\t\n\r"
_LATIN = {look: letter for letter, looks in _LOOKALIKES.items() for look in looks} | _SIGNS


def _fold(c: str) -> str:
    """What one character stands for."""
    if c in _LATIN:
        return _LATIN[c]
    category = unicodedata.category(c)
    if category in ("Mn", "Me", "Cf") or c in _FILLERS:
        return ""
    if category == "Cc":
        return c if c in _KEPT_CONTROLS else " " if c.isspace() else ""
    if category == "Nd":
        return str(unicodedata.digit(c))
    if category in ("Zs", "Zl", "Zp"):
        return " " if category == "Zs" else "\n"
    if category == "Pd":
        return "-"
    compatible = unicodedata.normalize("NFKD", c)
    if compatible != c:
        kind = unicodedata.decomposition(c).split(" ", 1)[0]
        before = " " if kind == "<fraction>" else "^" if kind == "<super>" and compatible.isdecimal() else ""
        return before + "".join(map(_fold, compatible))
    for other, case in ((c.upper(), str.lower), (c.lower(), str.upper)):  # both cases of a letter become one letter
        if c.isalpha() and other in _LATIN:
            return case(_LATIN[other])
    return c


class _Table(dict[int, str]):
    """`_fold` for `str.translate`: each character is worked out once."""

    def __missing__(self, code: int) -> str:
        self[code] = _fold(chr(code))
        return self[code]


_TABLE = _Table()


def fold(text: str) -> str:
    """A text in plain characters: NFKD without marks, format and control characters; look-alikes as Latin letters.

    All digits become 0-9, all dashes "-", "½" becomes " 1/2" and "²" becomes "^2". Folding twice changes nothing.
    """
    return text.translate(_TABLE)
