"""The recipe of the bundled model: ``python -m training``. CARD.md beside this says what came of it."""
