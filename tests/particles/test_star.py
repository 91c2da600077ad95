"""STAR files: what is parsed is what stands there, and what stands there is kept."""

import mmap
from dataclasses import replace

import numpy as np
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st

from vitreous.errors import InputError
from vitreous.particles.star import StarFile, read_star
from vitreous.particles.star_block import make_block
from vitreous.particles.star_text import FileRows

# A ~ stands for a space at the end of a line.
TEXT = """# a comment of the file

data_general

_rlnKey   value
_rlnQuoted "two words"  # remark

# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
1 first
2 ""

data_particles

loop_~
_rlnA #1~
_rlnB #2~
_rlnName #3~
  1.0  -2e3 a@b~

# a comment between rows
  nan   0.1 "c d"
 3  4.50 x,y
""".replace("~", " ")


@pytest.fixture
def star(tmp_path):
    path = tmp_path / "x.star"
    path.write_text(TEXT)
    return read_star(path)


def test_blocks_of_every_kind(star):
    assert [block.name for block in star.blocks] == ["general", "optics", "particles"]
    assert star.find("general").text("rlnQuoted") == ["two words"]
    assert star.optics.text("rlnOpticsGroupName") == ["first", ""]
    assert star.main.name == "particles"
    np.testing.assert_array_equal(star.main.numbers("rlnA"), [1, np.nan, 3])
    np.testing.assert_array_equal(star.main.numbers("rlnB"), [-2000, 0.1, 4.5])
    assert star.main.text("rlnName") == ["a@b", "c d", "x,y"]


def test_writing_is_idempotent_and_starfile_reads_it(star, tmp_path):
    star.write(tmp_path / "y.star")
    once = (tmp_path / "y.star").read_bytes()
    read_star(tmp_path / "y.star").write(tmp_path / "z.star")
    assert (tmp_path / "z.star").read_bytes() == once
    assert b'  nan   0.1 "c d"\n' in once
    table = starfile.read(tmp_path / "y.star")["particles"]
    assert table["rlnName"].tolist() == ["a@b", "c d", "x,y"]
    assert table["rlnB"].tolist() == [-2000, 0.1, 4.5]


def test_windows_line_ends_and_missing_last_newline(tmp_path):
    path = tmp_path / "dos.star"
    path.write_bytes(TEXT.rstrip().replace("\n", "\r\n").encode())
    assert read_star(path).main.numbers("rlnB")[2] == 4.5


def test_replaced_columns_leave_the_text_of_others(star):
    block = star.main.replace_columns({"rlnB": ["7", "8", "9"], "rlnNew": ["u", "", "w w"]})
    assert block.columns == ("rlnA", "rlnB", "rlnName", "rlnNew")
    assert block.lines() == [b"1.0 7 a@b u", b'nan 8 "c d" ""', b'3 9 x,y "w w"']


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 2", "row 2 has 2 values for 3 columns"),
        ("1 2 c d", "row 2 has 4 values for 3 columns"),
        ("1 two c", "row 2: _rlnB is 'two', not a number"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    path = tmp_path / "bad.star"
    path.write_text(f"data_p\nloop_\n_rlnA\n_rlnB\n_rlnName\n1 2 a\n{row}\n3 4 z\n")
    block = read_star(path).main
    with pytest.raises(InputError, match=message):
        block.read(numbers=["rlnA", "rlnB"])


def test_bad_number_in_the_last_column_is_named(tmp_path):
    path = tmp_path / "bad.star"
    path.write_text("data_p\nloop_\n_rlnA\n_rlnB\n1 2\n1 x\n")
    with pytest.raises(InputError, match="row 2: _rlnB is 'x'"):
        read_star(path).main.numbers("rlnB")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "no line starts with data_"),
        ("data_a\n\ndata_a\n", "two blocks are named data_a"),
    ],
)
def test_files_that_are_no_star_files(tmp_path, text, message):
    path = tmp_path / "bad.star"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_star(path)


def test_single_quotes(tmp_path):
    path = tmp_path / "single.star"
    path.write_text("data_p\nloop_\n_rlnA\n_rlnName\n1 'two words'\n2 ''\n")
    assert read_star(path).main.text("rlnName") == ["two words", ""]


cells = st.text(
    st.characters(
        codec="utf-8", exclude_characters="\"'\r\n", exclude_categories=["Cc", "Zl", "Zp"]
    ),
    max_size=6,
).filter(lambda cell: not cell or not cell.startswith(("#", "_", "data_", "loop_")))


@given(rows=st.lists(st.tuples(st.floats(allow_nan=False), cells, cells), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_table_survives(rows, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "property.star"
    number, first, second = (list(column) for column in zip(*rows, strict=True))
    block = make_block("p", {"n": [repr(x) for x in number], "a": first, "b": second})
    StarFile((block,), path).write(path)
    back = read_star(path).main
    np.testing.assert_allclose(back.numbers("n"), number, rtol=1e-15)
    assert back.text("a") == first
    assert back.text("b") == second


@pytest.mark.parametrize(
    "name",
    [
        "relion31.star",
        "relion31.6opticsgroups.star",
        "relion5.star",
        "sta_testing_bin8.star",
        "FinalRefinement-OriginalParticles-PfCRT.star",
    ],
)
def test_every_column_of_real_files_survives(shared_data, tmp_path, name):
    path = shared_data / "interop" / name
    read_star(path).write(tmp_path / "copy.star")
    before = starfile.read(path, always_dict=True)
    after = starfile.read(tmp_path / "copy.star", always_dict=True)
    assert list(before) == list(after)
    for block in before:
        assert list(before[block].columns) == list(after[block].columns)
        for column in before[block]:
            assert before[block][column].tolist() == after[block][column].tolist()


def test_bytes_that_are_no_utf8_come_out_as_they_went_in(tmp_path):
    path = tmp_path / "latin.star"
    path.write_bytes(b"data_p\nloop_\n_rlnA\n_rlnName\n1 caf\xe9\n")
    star = read_star(path)
    assert star.main.numbers("rlnA")[0] == 1
    block = star.main.replace_columns({"rlnCopy": star.main.text("rlnName")})
    assert block.body == b"1 caf\xe9 caf\xe9\n"


def test_two_columns_of_one_name(tmp_path):
    path = tmp_path / "twice.star"
    path.write_text("data_p\nloop_\n_rlnA\n_rlnA\n1 2\n")
    with pytest.raises(InputError, match="two columns named _rlnA"):
        read_star(path)


@pytest.fixture
def in_file(monkeypatch):
    """Leave the rows of every file where they are, and read them a few at a time."""
    monkeypatch.setattr("vitreous.particles.star.LARGE", 1)
    monkeypatch.setattr("vitreous.particles.star_text._PIECE", 20)
    monkeypatch.setattr("vitreous.particles.star._SEARCHED", mmap.PAGESIZE)


def large_table(rows):
    cells = [f"{k} {k / 7:.3f} {k % 5:03d}@stack{k % 3}.mrcs{'x' * (k % 40)}" for k in range(rows)]
    return "# why\n\ndata_p\n\nloop_\n_rlnA\n_rlnB\n_rlnName\n" + "\n".join(cells) + "\n\n"


@pytest.mark.parametrize("order", ["few", "all", "back", "twice"])
def test_rows_left_in_the_file_are_those_held_in_memory(tmp_path, in_file, order):
    path, again = tmp_path / "x.star", tmp_path / "y.star"
    path.write_text(large_table(400))
    rows = {
        "few": np.array([0, 3, 4, 399]),
        "all": np.arange(400),
        "back": np.array([7, 2, 398]),
        "twice": np.array([5, 5, 6]),
    }[order]
    star = read_star(path)
    assert isinstance(star.main.body, FileRows)
    held = replace(star.main, body=star.main.text_of_rows())
    assert held.body == large_table(400).partition("Name\n")[2].encode()[:-1]
    assert star.main.text("rlnName") == held.text("rlnName")
    np.testing.assert_array_equal(star.main.numbers("rlnB"), held.numbers("rlnB"))
    star.replace_blocks(star.main.take(rows)).write(again)
    # A file may be moved away while it is in use.
    path.rename(tmp_path / "z.star")
    assert read_star(again).main.lines() == [held.lines()[k] for k in rows]
    assert star.main.lines() == held.lines()


def test_rows_between_comments_and_of_windows_are_held(tmp_path, in_file):
    path = tmp_path / "x.star"
    for text in (TEXT, TEXT.replace("\n", "\r\n"), TEXT.rstrip()):
        path.write_bytes(text.encode())
        assert len(read_star(path).main) == 3
        np.testing.assert_array_equal(read_star(path).main.numbers("rlnB"), [-2000, 0.1, 4.5])


def test_a_file_written_to_while_it_is_in_use(tmp_path, in_file):
    path = tmp_path / "x.star"
    path.write_text(large_table(9))
    star = read_star(path)
    path.write_text(large_table(8))
    with pytest.raises(InputError, match="was changed while it was being used"):
        star.main.numbers("rlnA")
