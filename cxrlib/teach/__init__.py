"""The kit for a class: labs and their editions, slides, a handout and one bundle of all, made for a room without a network.

classroom (what the labs call), editions (student's and teacher's notebooks from one source, marks), slides (a deck with speaker's notes), kit (the zip file).
May use every room but the door. Texts lie in ``teaching/``, quizzes and widgets of the pages in ``book/``.
"""
