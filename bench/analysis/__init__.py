"""From tidy tables to statistics, figures, tables and a report; never imports torch."""
