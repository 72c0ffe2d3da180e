"""The names of months and weekdays that are read in dates: of nine languages, none of which contradicts another."""

from __future__ import annotations

__all__ = ["MONTHS", "WEEKDAYS"]

# A line for each month: English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish and Norwegian.
# "jui" could be June or July in French, and is none of them.
_MONTHS = """
jan january januar jänner januari janvier janv ene enero gen gennaio janeiro
feb february februar februari février fevrier févr fevr fév fev febrero febbraio fevereiro
mar march märz mär maerz mrz mars maart mrt marzo março marco marts
apr april avr avril abr abril aprile
may mai mayo mag maggio maio mei maj
jun june juni juin junio giu giugno junho
jul july juli juil juillet julio lug luglio julho
aug august août aout ago agosto augustus augusti
sep sept september septembre septiembre setiembre set settembre setembro
oct october okt oktober octobre octubre ott ottobre out outubro
nov november novembre noviembre novembro
dec december dez dezember déc decembre décembre dic diciembre dicembre dezembro des desember
"""
_WEEKDAYS = """
mon monday tue tues tuesday wed wednesday thu thur thurs thursday fri friday sat saturday sun sunday
mo montag di dienstag mi mittwoch do donnerstag fr freitag sa samstag sonnabend so sonntag
lun lundi mardi mer mercredi jeu jeudi ven vendredi sam samedi dim dimanche
lunes mar martes mié mie miércoles miercoles jue jueves vie viernes sáb sab sábado sabado dom domingo
lunedì lunedi martedì martedi mercoledì mercoledi gio giovedì giovedi venerdì venerdi sabato domenica
seg segunda segunda-feira ter terça terça-feira qua quarta quarta-feira qui quinta quinta-feira sex sexta sexta-feira
ma maandag dinsdag wo woensdag donderdag vr vrijdag za zaterdag zo zondag
mån måndag tis tisdag ons onsdag tor torsdag fre fredag lör lördag sön söndag
man mandag tir tirsdag lør lørdag søn søndag
"""

MONTHS = {name: number for number, line in enumerate(_MONTHS.split("\n")[1:-1], 1) for name in line.split()}
WEEKDAYS = frozenset(_WEEKDAYS.split())  # a date does not need them
