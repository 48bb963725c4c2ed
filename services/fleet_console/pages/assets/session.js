// When the connection to the console is refused because the session has ended, the page goes to the login.
(() => {
  const check = async () => {
    const answer = await fetch("/assets/session.js", { method: "HEAD", cache: "no-store" }).catch(() => null);
    if (answer && answer.status === 401) {
      window.location.assign("/login?next=" + encodeURIComponent(window.location.pathname));
    }
  };
  const wait = setInterval(() => {
    if (!window.socket) return;
    clearInterval(wait);
    window.socket.on("disconnect", check);
    window.socket.on("connect_error", check);
  }, 200);
})();
