"""The report: all figures and tables of some results, and the page that holds them."""
