"""Figures: functions of tidy tables, each with caption, numbers and alternative text."""
