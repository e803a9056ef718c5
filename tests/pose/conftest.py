import pytest

from zoo.data.synthetic import SyntheticPeople


@pytest.fixture
def recorded(shared):
    return shared / "parity" / "everybody_dance_now_pose"


@pytest.fixture(scope="session")
def people():
    return SyntheticPeople(size=(256, 256), train_identities=1, val_identities=0, test_identities=2, frames=60)


@pytest.fixture(scope="session")
def walk(people):
    """The BODY_18 track of somebody who walks about, pixels."""
    clip = next(clip for clip in people.clips("test") if "walk" in clip.name)
    return people.condition(clip, "pose", range(clip.frames)).double()
