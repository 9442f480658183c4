"""Sphinx: `make doc` builds the site into doc/_build/html, offline, with warnings as errors."""

import os
import posixpath
import re
from pathlib import Path

from docutils import nodes
from sphinx_gallery.sorting import ExplicitOrder

import skbackdoor

project = "skbackdoor"
copyright = "skbackdoor developers"
version = release = skbackdoor.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # formulas without another host: MathJax and its fonts, copied
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**sg_execution_times.rst"]  # those load scripts from elsewhere
default_role = "literal"
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = "skbackdoor"
html_theme_options = {
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_sidebars = {"architecture": [], "contributing": []}  # no pages below them to navigate
toc_object_entries_show_parents = "hide"
suppress_warnings = ["myst.header"]  # measured results go from # to ###

autosummary_generate = True
templates_path = ["templates"]
autodoc_typehints = "none"  # numpydoc says the types
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False

_EXAMPLES = [
    "plot_audit.py",
    "plot_choose_C.py",
    "plot_breakdown.py",
    "plot_already_poisoned.py",
    "plot_learning_curves.py",
    "plot_slope_grid.py",
    "plot_parameter_deviation.py",
    "plot_boundary.py",
    "plot_influence.py",
    "plot_input_gradient.py",
    "plot_triggers.py",
    "plot_own_trigger.py",
    "plot_table.py",
    "plot_text.py",
    "plot_series.py",
    "plot_deep_features.py",
    "plot_frozen_layers.py",
    "plot_where_it_looks.py",
    "*",
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "ignore_pattern": r"(audit_)?demo\.py",
    "within_subsection_order": ExplicitOrder(_EXAMPLES),
    "backreferences_dir": "api/backreferences",
    "doc_module": ("skbackdoor",),
    "reference_url": {"skbackdoor": None},
    "abort_on_example_error": True,
    "show_memory": False,
    "ignore_repr_types": r"matplotlib|skbackdoor\.display",  # they say only where they are
    "write_computation_times": False,
    "remove_config_comments": True,
    "download_all_examples": False,
}

#: Where the pages of other projects are: links need no inventory, so that the build is offline.
_PAGES = {
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{}.html",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
}


def link_elsewhere(app, env, node, contnode):
    """A link to another project's page, by the name of what is meant."""
    target = node.get("reftarget", "")
    page = _PAGES.get(target.split(".")[0])
    if page is None:
        return None
    return nodes.reference("", "", contnode, internal=False, refuri=page.format(target))


def skip_foreign(app, what, name, obj, skip, options):
    """Members that scikit-learn, skorch or torch gave are documented there."""
    home = getattr(getattr(obj, "fget", obj), "__module__", None)
    return True if home and not home.startswith("skbackdoor") else None


#: Where files of the repository stand on the site.
_PLACES = [
    (r"doc/(.*)", r"/\1"),
    (r"examples", "/auto_examples/index.rst"),
    (r"examples/(.*)\.py", r"/auto_examples/\1.rst"),
    (r"benchmarks/(results/.*)", r"/\1"),
    (r"CONTRIBUTING\.md", "/contributing.md"),
]


def link_to_site(app, relative_path, parent_docname, content):
    """Links between files of the repository, in what a page includes, lead to their pages."""
    folder = Path(os.path.relpath(Path(app.srcdir, relative_path), Path(app.srcdir).parent)).parent

    def on_site(match):
        path = posixpath.normpath(posixpath.join(folder.as_posix(), match[1]))
        for pattern, place in _PLACES:
            if found := re.fullmatch(pattern, path):
                return f"]({found.expand(place)})"
        return match[0]

    content[0] = re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", on_site, content[0])


def mend_source_links(app, pagename, templatename, context, doctree):
    """viewcode takes all names of a file to be documented under the module of one of them."""
    if not pagename.startswith("_modules/"):
        return
    documented = {}
    for name, _, _, page, _, _ in app.env.domains.python_domain.get_objects():
        documented.setdefault(page, []).append(name)

    def mend(match):
        page = posixpath.normpath(posixpath.join(posixpath.dirname(pagename), match[1]))
        backwards = [name[::-1] for name in documented.get(page, [match[2]])]
        best = max(backwards, key=lambda n: len(os.path.commonprefix([n, match[2][::-1]])))
        return f'href="{match[1]}.html#{best[::-1]}"'

    context["body"] = re.sub(
        r'(?<=class="viewcode-back" )href="([^"#]+)\.html#([^"]+)"', mend, context["body"]
    )


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("missing-reference", link_elsewhere)
    app.connect("include-read", link_to_site)
    app.connect("html-page-context", mend_source_links)
