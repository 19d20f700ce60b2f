using System;
using System.Linq;

namespace LowLevel.Generator;

/// <summary>Writes the tests of an inverted bit set: what is set, what a transition changes, and that neither zero nor a
/// count has a type.</summary>
internal sealed class InvertedTestWriter(BitsDeclaration bits, ulong fixedBits, SourceText output, Action<string, bool> beginFact)
{
    private const uint NoType = 0xffffffff;

    public void Write()
    {
        WriteNone();
        foreach (Bit bit in bits.Bits)
        {
            WriteBit(bit);
        }
    }

    private void WriteNone()
    {
        beginFact($"{bits.Name}_is_32_bits_wide_and_neither_none_nor_zero_nor_a_count_has_a_type", true);
        output.Line($"Assert.Equal(4, sizeof({bits.Name}));");
        output.Line($"Assert.Equal(0x{fixedBits:x}u, {bits.Name}.Base);");
        output.Line($"Assert.Equal(0x{NoType:x}u, {bits.Name}.None.Value);");
        output.Line($"foreach (uint word in new uint[] {{ 0x{NoType:x}, 0, 1, 0x7f, 0x{~(uint)fixedBits:x} }})");
        output.Open();
        foreach (Bit bit in bits.Bits)
        {
            output.Line($"Assert.False(new {bits.Name}(word).Is{bit.Name});");
        }
        output.Close();
        output.Close();
    }

    private void WriteBit(Bit bit)
    {
        uint word = NoType & ~(uint)bit.Value;
        beginFact($"{bits.Name}_{bit.Name}_clears_0x{bit.Value:x8}_and_nothing_else", false);
        output.Line($"Assert.Equal(0x{bit.Value:x}u, {bits.Name}.{bit.Name}Bit);");
        output.Line($"{bits.Name} set = {bits.Name}.None.With{bit.Name}();");
        output.Line($"Assert.Equal(0x{word:x}u, set.Value);");
        output.Line($"Assert.Equal(set, set.With{bit.Name}());");
        foreach (Bit other in bits.Bits)
        {
            string expected = other.Value == bit.Value ? "True" : "False";
            output.Line($"Assert.{expected}(set.Is{other.Name});");
        }
        output.Line($"Assert.Equal({bits.Name}.None, set.Without{bit.Name}());");
        output.Line($"Assert.Equal(0x{(uint)bit.Value:x}u, new {bits.Name}(0).Without{bit.Name}().Value);");
        foreach (uint fixedBit in Enumerable.Range(0, 32).Select(n => 1u << n).Where(value => (value & fixedBits) != 0))
        {
            output.Line($"Assert.False(new {bits.Name}(0x{word & ~fixedBit:x}).Is{bit.Name});");
        }
        output.Close();
    }
}
