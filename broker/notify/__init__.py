"""Tells people outside of gates that wait: signed webhooks, Discord, Slack, Telegram and ntfy."""
