"""What a viewer sees before giving the token, where the page can be reached from other machines."""

from raymon.html.markup import Html, tag, with_code


def login_form(refused: bool) -> Html:
    """Return the question for the token; `refused` when the last one was wrong."""
    text = "That is not the token." if refused else "This page is open to the network and asks for its token."
    form = tag(
        "form",
        tag("input", type="password", name="token", aria_label="Token", autocomplete="off", required=True),
        tag("button", "Open", type="submit", class_="chip"),
    )
    body = tag(
        "section",
        tag("div", "raymon", class_="headline"),
        tag("p", text, class_="sentence", role="alert" if refused else None),
        tag("p", with_code("`raymon status` has printed it in the terminal where it was started."), class_="soft"),
        form,
        class_="verdict login",
        data_state="refused" if refused else "login",
    )
    return tag("div", body, class_="page", data_view="login")
