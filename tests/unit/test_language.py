import pytest

from credence.core.errors import ConfigError
from credence.dialogue.language import check_language, detect

SAMPLES = {
    "en": ["How do I install a package? Use the package manager that comes with the system."],
    "zh": [
        "如何安装软件包？",
        "使用 apt install 命令安装软件包：`apt install foo`，然后按 Enter。",
        "軟體套件要怎麼安裝？",
    ],
    "und": [
        "ソフトウェアをインストールする方法を教えてください。",
        "소프트웨어를 어떻게 설치하나요?",
        "Как установить пакет? Используйте менеджер пакетов.",
        "Comment installer un paquet ? Utilisez le gestionnaire de paquets fourni avec le système.",
        "Wie installiere ich ein Paket? Verwenden Sie die Paketverwaltung, die zum System gehört.",
        "¿Cómo instalo un paquete? Use el gestor de paquetes que viene con el sistema.",
        "كيف أثبت حزمة؟",
        "Πώς εγκαθιστώ ένα πακέτο;",
        "1234 !!! ---",
        "",
    ],
}


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in SAMPLES.items() for text in texts])
def test_detect(code: str, text: str) -> None:
    assert detect([text]) == code


def test_an_unknown_language_is_named_with_the_known_ones() -> None:
    assert check_language("zh") == "zh"
    with pytest.raises(ConfigError, match=r"'klingon'.*en \(English\), zh \(Chinese\)"):
        check_language("klingon")
