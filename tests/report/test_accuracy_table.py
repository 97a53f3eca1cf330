from mamba_mender.repair import compare_arms
from mamba_mender.report.accuracy_table import accuracy_table, set_words


def test_rows_and_columns_are_those_of_the_results(results):
    table = accuracy_table(compare_arms(results))
    assert [column.split for column in table.sets] == ["validation", "test", "clean_test"]
    assert [row.arm for row in table.rows] == ["base", "control", "ext", "int", "all", "clean"]
    rows = {row.arm: row for row in table.rows}
    assert rows["control"].gain is None
    assert rows["ext"].gain.word == "Better"
    assert rows["ext"].cells[1].value == "81.0\N{NO-BREAK SPACE}%"


def test_a_set_that_an_arm_was_not_judged_on_is_an_empty_cell(results):
    arms = dict(compare_arms(results))
    del arms["ext"].accuracy["validation"]
    rows = {row.arm: row for row in accuracy_table(arms).rows}
    assert rows["ext"].cells[0] is None


def test_patches_are_mentioned_only_where_there_are_some():
    assert "patch" in set_words("test", decoyed=True)[1]
    assert "patch" not in set_words("test", decoyed=False)[1]
