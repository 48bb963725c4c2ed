"""The pages before and after a session, as plain HTML without any script."""

from __future__ import annotations

from html import escape

LOGIN, LOGOUT, LINK, BEGIN, CALLBACK = "/login", "/logout", "/login/link", "/login/provider", "/login/callback"


def page(title: str, body: str) -> str:
    """A whole page; `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} · fleetloop</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/assets/console.css"><link rel="stylesheet" href="/assets/login.css"></head>'
        f'<body><main class="sheet"><section class="panel"><h1>{escape(title)}</h1>{body}</section></main></body>'
        "</html>"
    )


def login_page(*, accounts: bool, provider: bool, links: bool, target: str, problem: str = "") -> str:
    """The ways to log in that there are. `target`: the page that the person wanted."""
    parts = [f'<p class="notice" role="alert">{escape(problem)}</p>'] if problem else []
    wanted = f'<input type="hidden" name="next" value="{escape(target)}">'
    if provider:
        # A link: a form that leads to another origin would break the policy that forms lead only to our own.
        parts.append(f'<p><a class="primary" href="{BEGIN}">Log in</a></p>')
    if accounts:
        parts.append(
            f'<form method="post" action="{LOGIN}">{wanted}<label>Name'
            '<input name="name" autocomplete="username" autocapitalize="none" required maxlength="63"></label>'
            '<label>Password<input name="password" type="password" autocomplete="current-password" required '
            'maxlength="256"></label><button class="primary">Log in with a password</button></form>'
        )
    if links:
        parts.append(
            '<p class="quiet">On the machine where the services run, <code>fleetloop users link</code> prints a link '
            "that logs you in once, and <code>fleetloop users password NAME</code> sets a password.</p>"
        )
    if not (accounts or provider or links):
        parts.append("<p>No way to log in is configured: set FLEETLOOP_OIDC_ISSUER or FLEETLOOP_ACCOUNTS.</p>")
    return page("Log in", "".join(parts))


def link_page(secret: str, name: str) -> str:
    """Asks before a one-time link is spent, so that nothing that only reads the address spends it."""
    return page(
        "Log in",
        f'<form method="post" action="{LINK}"><input type="hidden" name="secret" value="{escape(secret)}">'
        f'<button class="primary">Log in as {escape(name)}</button></form>',
    )


def refused_page(name: str, needed: str, pages: dict[str, str]) -> str:
    """For a page that the person's roles do not allow; `pages` are the others, by path."""
    links = "".join(f'<li><a href="{escape(path)}">{escape(title)}</a></li>' for path, title in pages.items())
    others = f"<p>You may open:</p><ul>{links}</ul>" if links else "<p>Your roles allow none of the pages.</p>"
    return page(
        "Not for your roles",
        f"<p>{escape(name)} may not open this page. It needs the role {escape(needed)}.</p>{others}{logout_form()}",
    )


def logout_form() -> str:
    """The button that ends the session."""
    return f'<form method="post" action="{LOGOUT}"><button>Log out</button></form>'
