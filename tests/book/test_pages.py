"""What the Sphinx extension of the book does to text."""

import pytest
from docutils import nodes
from docutils.utils import new_document

from cxrlib.book.pages import MinusSigns


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("mixup -2.5 points (-6.3 to +1.3), -0.04.", "mixup −2.5 points (−6.3 to +1.3), −0.04."),
        ("-12.75", "−12.75"),
        ("[-1.0, 1.0], “-0.5”, ≤-0.5, -1,234.5", "[−1.0, 1.0], “−0.5”, ≤−0.5, −1,234.5"),
        ("COVID-19, 2.5-3.5, 2021-05, scan-1.5, --lr -x", None),
        ("a version -1.2.3, a file -1.5.png, an option -5", None),
    ],
)
def test_negative_numbers_have_a_minus_sign_and_names_stay(written, shown):
    document = new_document("page")
    code = [nodes.literal("", "", nodes.Text(written)), nodes.literal_block("", "", nodes.Text(written))]
    code.append(nodes.literal("", "", nodes.emphasis("", "", nodes.Text(written))))
    document += [nodes.paragraph("", "", nodes.Text(written), code[0], code[2]), code[1]]

    MinusSigns(document).run()

    assert document[0][0].astext() == (shown or written)
    assert [block.astext() for block in code] == [written] * 3
