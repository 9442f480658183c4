"""Sphinx: `make doc` builds the site into doc/_build/html, offline, with warnings as errors."""

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
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
default_role = "literal"
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = "skbackdoor"
html_theme_options = {"show_toc_level": 2, "secondary_sidebar_items": ["page-toc"]}

autosummary_generate = True
templates_path = ["templates"]
autodoc_typehints = "none"  # numpydoc says the types
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False

_EXAMPLES = [
    "plot_choose_C.py",
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
    "ignore_pattern": r"demo\.py",
    "within_subsection_order": ExplicitOrder(_EXAMPLES),
    "backreferences_dir": "api/backreferences",
    "doc_module": ("skbackdoor",),
    "reference_url": {"skbackdoor": None},
    "abort_on_example_error": True,
    "show_memory": False,
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


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("missing-reference", link_elsewhere)
