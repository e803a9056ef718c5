"""The leaderboard's parts: tables computed from results, charts, the page that holds them, places in other pages."""
