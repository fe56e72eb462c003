"""People as judges: what they are asked, what they are given, and what they answered.

`forms` holds the questions and their wordings in seven languages, `items` says what a packet is, `packets` makes one (`blocks` balances
it), `ratings` keeps and imports what was answered, `xlsx` and `label_studio` carry both to other programs and back. `analysis` scores what
was answered, `summary` says it in short, and `earlier_study` tells a planned study what grades vary by.
"""
