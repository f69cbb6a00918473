"""For all tests: none of them is judged by the time that it takes, an example of hypothesis neither."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
