"""The links from highlighted source back to its description lead to the page of its own module.

What the package also offers under a shorter name is described twice; sphinx.ext.viewcode mixes the two up.
"""


def own_pages(app, env):
    modules = getattr(env, "_viewcode_modules", {})
    for name, entry in modules.items():
        page = f"reference/api/{name}"
        if entry and page in env.found_docs:
            code, tags, used, _ = entry
            modules[name] = code, tags, dict.fromkeys(used, page), name
    return []


def setup(app):
    app.connect("env-updated", own_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
