"""The site of the documents: `make site` builds it from the repository, all warnings being errors."""

import pathlib

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.transforms import SphinxTransform

ROOT = pathlib.Path(__file__).parent.parent

project = "Lablet"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = "Lablet"
html_show_copyright = False
html_copy_source = False
html_show_sphinx = False
html_static_path = []
# The address of the site alone leads to its first page.
html_extra_path = ["site"]

# The source is the repository itself, so that links between documents are those that a reader of the repository follows.
include_patterns = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md", "docs/analysis.ipynb"]
exclude_patterns = ["**/target", "**/node_modules", "**/venv", ".git", "docs/services/typescript"]
root_doc = "docs/index"

# The notebook is shown with the answers that it was committed with.
nb_execution_mode = "off"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Fences that readers of the repository see coloured or drawn.
highlight_options = {"default": {"stripall": True}}


class FilesOfTheRepository(SphinxTransform):
    """Links to what is in the repository and is no document are shown as its path: the site has documents alone."""

    default_priority = 5

    def apply(self, **kwargs):
        folder = ROOT / pathlib.Path(self.env.docname).parent
        for reference in list(self.document.findall(lambda node: isinstance(node, (pending_xref, download_reference)))):
            target = reference.get("reftarget", "").split("#")[0]
            path = (folder / target).resolve()
            is_document = path.suffix in (".md", ".ipynb")
            if target and path.exists() and not is_document and path.is_relative_to(ROOT):
                shown = reference.astext()
                literal = nodes.literal(text=shown if "/" in shown else f"{path.relative_to(ROOT)}")
                reference.replace_self([nodes.Text(f"{shown} ("), literal, nodes.Text(")")] if "/" not in shown else [literal])


class LifeOfASession(SphinxTransform):
    """The diagram that readers of the repository see drawn is its picture here: the site loads no program to draw it."""

    default_priority = 5

    def apply(self, **kwargs):
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                block.replace_self(nodes.image(uri="session-life.svg", alt="The life of a session"))


def setup(app):
    app.add_transform(FilesOfTheRepository)
    app.add_transform(LifeOfASession)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
